// Where a message is written: text, files, and the button that sends or stops.
import {$, bytes, growWithText, icon, iconButton, make, pickFiles, toast} from './dom.js';
import {isRunning, rewordLast, send, stop} from './chat.js';

const mostFileBytes = 512 * 1024, mostFiles = 20;
let files = [];
let button = null;

// Text files only: what holds NUL or is no UTF-8 is not.
async function readFile(file) {
  if (file.size > mostFileBytes) throw new Error(`${file.name}: ${bytes(file.size)} is too much to read`);
  try {
    const text = new TextDecoder('utf-8', {fatal: true}).decode(await file.arrayBuffer());
    if (!text.includes('\0')) return {name: file.name, text};
  } catch { /* told below */ }
  throw new Error(`${file.name}: not a text file`);
}

async function attach(list) {
  for (const file of list) {
    try {
      if (files.length >= mostFiles) throw new Error(`at most ${mostFiles} files`);
      files.push(await readFile(file));
    } catch (error) {
      toast(error.message);
    }
  }
  showFiles();
  $('#prompt').focus();
}

function showFiles() {
  $('#attached').replaceChildren(...files.map((file) => make('span', {class: 'chip'}, file.name,
    iconButton('close', `Leave out ${file.name}`, () => {
      files = files.filter((other) => other !== file);
      showFiles();
    }))));
}

function submit() {
  const area = $('#prompt'), text = area.value.trim();
  if (isRunning() || (text === '' && files.length === 0)) return;
  const attached = files;
  files = [];
  area.value = '';
  growWithText(area, 260);
  showFiles();
  send(text, attached);
}

export function showComposer() {
  const busy = isRunning();
  if (button.dataset.busy === String(busy)) return;
  button.dataset.busy = busy;
  button.title = busy ? 'Stop (Esc)' : 'Send (Enter)';
  button.setAttribute('aria-label', busy ? 'Stop' : 'Send');
  button.replaceChildren(icon(busy ? 'stop' : 'send'));
}

export function setUpComposer() {
  const area = $('#prompt'), form = $('#composer');
  button = make('button', {type: 'button', id: 'send', class: 'main round',
    onclick: () => (isRunning() ? stop() : submit())});
  $('#composer-row').append(
    iconButton('attach', 'Attach text files', async () => attach(await pickFiles('', true))),
    make('span', {id: 'gauge', title: 'How much of the context this conversation fills', hidden: true},
      make('meter', {min: 0, max: 1, low: 0.75, high: 0.9, optimum: 0}), make('span')),
    make('span', {class: 'gap'}), button);
  showComposer();
  area.addEventListener('input', () => growWithText(area, 260));
  area.addEventListener('keydown', (event) => {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      submit();
    } else if (event.key === 'ArrowUp' && area.value === '' && !isRunning()) {
      event.preventDefault();
      rewordLast();
    }
  });
  area.addEventListener('paste', (event) => {
    if (event.clipboardData.files.length === 0) return;
    event.preventDefault();
    attach([...event.clipboardData.files]);
  });
  const talk = $('#talk');
  talk.addEventListener('dragover', (event) => {
    if (![...event.dataTransfer.types].includes('Files')) return;
    event.preventDefault();
    form.classList.add('target');
  });
  talk.addEventListener('dragleave', () => form.classList.remove('target'));
  talk.addEventListener('drop', (event) => {
    form.classList.remove('target');
    if (event.dataTransfer.files.length === 0) return;
    event.preventDefault();
    attach([...event.dataTransfer.files]);
  });
}
