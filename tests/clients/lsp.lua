-- octet lsp in Neovim (0.7 or later): what the completion of its own LSP client offers.
--     OCTET=build/octet MODEL=m.gguf nvim --headless -n -u NONE -c 'luafile tests/clients/lsp.lua'
local function check(name, good, why)
  io.stdout:write(good and ('ok ' .. name .. '\n')
    or ('FAIL ' .. name .. ': ' .. tostring(why):sub(1, 300) .. '\n'))
  return good
end

local function run()
  local client = vim.lsp.start_client({
    name = 'octet',
    cmd = { vim.env.OCTET, 'lsp', '-m', vim.env.MODEL, '--debounce', '0', '-n', '16' },
    root_dir = vim.fn.getcwd(),
  })
  vim.bo.swapfile = false
  vim.api.nvim_buf_set_name(0, '/w/fibonacci.py')
  vim.bo.filetype = 'python'
  vim.api.nvim_buf_set_lines(0, 0, -1, false, {
    'def fibonacci(n):', '    """Return the n-th Fibonacci number."""', '    ret' })
  vim.lsp.buf_attach_client(0, client)
  vim.bo.omnifunc = 'v:lua.vim.lsp.omnifunc'
  local ready = vim.wait(60000, function()
    return vim.lsp.get_client_by_id(client).initialized and vim.lsp.buf_is_attached(0, client)
  end)
  check('nvim_attached', ready)
  vim.api.nvim_win_set_cursor(0, { 3, 7 })
  local answers = vim.lsp.buf_request_sync(0, 'textDocument/completion', {
    textDocument = vim.lsp.util.make_text_document_params(),
    position = { line = 2, character = 7 },
  }, 60000)
  local result = answers and answers[client] and answers[client].result
  local item = result and result.items[1]
  if check('nvim_item', item and item.textEdit.newText:sub(1, 3) == 'ret', vim.inspect(answers)) then
    local words = vim.lsp.util.text_document_completion_list_to_complete_items(result, 'ret')
    check('nvim_menu', words[1] and words[1].word:sub(1, 3) == 'ret' and words[1].menu ~= nil,
      vim.inspect(words))
  end
  vim.lsp.stop_client(client)
  check('nvim_stopped', vim.wait(60000, function() return vim.lsp.client_is_stopped(client) end))
end

local fine, why = pcall(run)
if not fine then check('nvim', false, why) end
vim.cmd('qall!')
