// The web page of `octet serve` in a headless browser, as people and hostile models use it.
//
//     node page.mjs BASE_URL [FOLDER [NAME]]
//
// BASE_URL: a server with two models that can chat. FOLDER: where to write pictures of the page.
// NAME: only checks whose names begin like this, as looks_ for pictures alone.
// Needs Chromium, at $CHROMIUM if not at Debian's place.
import {readFile} from 'node:fs/promises';
import path from 'node:path';
import {chromium} from 'playwright-core';
import {BASE as base, check, finish} from './lib.mjs';

const [folder, only = ''] = process.argv.slice(3);
const browser = await chromium.launch({executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox']});
let page = null, errors = [], foreign = [], asked = [];

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
function must(good, why) { if (!good) throw new Error(why); }

async function open(options = {}) {
  const context = await browser.newContext({viewport: {width: 1280, height: 800}, ...options});
  page = await context.newPage();
  [errors, foreign, asked] = [[], [], []];
  page.on('console', (message) => message.type() === 'error' && errors.push(message.text()));
  page.on('pageerror', (error) => errors.push(error.message));
  page.on('request', (request) => {
    if (!/^(blob|data):/.test(request.url()) && !request.url().startsWith(base)) foreign.push(request.url());
    if (request.url().endsWith('/v1/chat/completions')) asked.push(request.postDataJSON());
  });
  await page.goto(`${base}/`);
  await page.waitForSelector('#model-0 option', {state: 'attached'});
}

async function test(name, run, options) {
  if (!name.startsWith(only)) return;
  try {
    await open(options);
    await run();
    must(errors.length === 0, `console: ${errors[0]}`);
    must(foreign.length === 0, `asked elsewhere: ${foreign[0]}`);
    check(name, true);
  } catch (error) {
    check(name, false, error.message.split('\n').slice(0, 3).join(' '));
  }
  await page.context().close();
}

// ---- Doing ----
const busy = () => page.$eval('#send', (button) => button.dataset.busy === 'true');
async function done(polling = 20) {
  await page.waitForFunction(() => document.querySelector('#send').dataset.busy === 'false', null,
    {timeout: 120000, polling});
}
async function say(text) {
  await page.fill('#prompt', text);
  await page.press('#prompt', 'Enter');
}
async function setting(name, value) {
  if (!(await page.isVisible('#settings'))) await page.click('#settings-button');
  await page.fill(`#set-${name}`, String(value));
  await page.click('#settings button[aria-label="Close"]');
}
const answers = () => page.$$eval('.answer .markdown', (list) => list.map((each) => each.textContent));
async function metric(name) {
  const text = await (await fetch(`${base}/metrics`)).text();
  return [...text.matchAll(new RegExp(`^${name}\\{[^}]*\\} (\\S+)`, 'gm'))]
    .reduce((sum, match) => sum + Number(match[1]), 0);
}
async function picture(name) {
  if (folder) await page.screenshot({path: path.join(folder, `page-${name}.png`)});
}

// Answers in place of the server: REPLY(body) is the text, or {text, finish}.
async function pretend(reply) {
  await page.route('**/v1/chat/completions', (route) => {
    const given = reply(route.request().postDataJSON());
    const {text, finish} = typeof given === 'string' ? {text: given, finish: 'stop'} : given;
    const chunk = (delta, reason) => `data: ${JSON.stringify({id: 'x', object: 'chat.completion.chunk',
      choices: [{index: 0, delta, finish_reason: reason}]})}\n\n`;
    const usage = {choices: [], usage: {prompt_tokens: 100, completion_tokens: 28,
      prompt_tokens_details: {cached_tokens: 60}}, timings: {predicted_per_second: 20}};
    route.fulfill({contentType: 'text/event-stream', body: chunk({role: 'assistant', content: ''}, null) +
      chunk({content: text}, null) + chunk({}, finish) + `data: ${JSON.stringify(usage)}\n\ndata: [DONE]\n\n`});
  });
}

// ---- With the server ----
await test('page_is_locked_down', async () => {
  const response = await fetch(`${base}/`), tag = response.headers.get('etag');
  must(response.headers.get('content-security-policy').startsWith("default-src 'none'"), 'no policy');
  const again = await fetch(`${base}/`, {headers: {'If-None-Match': tag}});
  must(again.status === 304, `known page: ${again.status}`);
  must((await fetch(`${base}/web/../octet.h`)).status === 404, 'a path out of the folder');
  must(await page.$$eval('#model-0 option', (list) => list.length) >= 2, 'two models expected');
});

await test('chat_streams', async () => {
  await setting('max_tokens', 200); // enough for a browser that gets little of a busy machine
  await setting('seed', 7);
  await say('Write a very long story about a bridge.');
  const lengths = new Set();
  while (await busy()) {
    lengths.add((await answers()).join('').length);
    // The model computes on the cores that an endless animation would keep painting.
    must(await page.evaluate(() => document.getAnimations().length) === 0, 'something moves');
    await pause(30);
  }
  must(lengths.size > 3, `text in ${lengths.size} steps`);
  const stats = await page.textContent('.stats');
  must(/tokens\/s/.test(stats) && /first after/.test(stats) && /cached/.test(stats), stats);
  must(/of 4,096 tokens|of [\d,]+ tokens/.test(await page.textContent('#gauge')), 'no gauge');
});

await test('sends_only_what_was_changed', async () => {
  await setting('max_tokens', 4);
  await say('Hi');
  await done();
  const keys = Object.keys(asked[0]).sort().join();
  must(keys === 'max_tokens,messages,model,stream,stream_options', keys);
  must(await page.getAttribute('#settings', 'hidden') !== null, 'settings still open');
});

await test('stop_stops_the_engine', async () => {
  await say('Write a very long story about a lighthouse.');
  await page.waitForFunction(() => document.querySelector('.markdown')?.textContent.length > 40);
  const before = await metric('octet_requests_cancelled_total');
  const begun = performance.now();
  await page.keyboard.press('Escape');
  while (await metric('octet_requests_cancelled_total') === before ||
         await metric('octet_requests_active') > 0) {
    must(performance.now() - begun < 5000, 'not cancelled after 5 s');
    await pause(5);
  }
  const took = performance.now() - begun;
  console.log(`the engine stopped ${took.toFixed(0)} ms after the key`);
  must(took < 200, `took ${took.toFixed(0)} ms`);
  must((await page.textContent('.stats')).includes('stopped'), 'not told');
  const [text] = await answers();
  await page.click('.more');
  await page.waitForFunction((n) => document.querySelector('.markdown').textContent.length > n + 20,
    text.length);
  must(asked[1].messages.at(-1).role === 'assistant', 'does not go on');
  await page.keyboard.press('Escape');
  await done();
});

await test('two_models_side_by_side', async () => {
  await setting('max_tokens', 32);
  await page.click('#second');
  await say('Name three colours.');
  await done();
  const texts = await answers();
  must(texts.length === 2 && texts.every((text) => text.length > 0), `answers: ${texts}`);
  must(new Set(asked.map((body) => body.model)).size === 2, 'the same model twice');
  await say('And three more.');
  await done();
  const own = asked.slice(2).map((body) => body.messages[1].content);
  must(own.join() === (await page.evaluate(() => {
    const chat = JSON.parse(localStorage.getItem(Object.keys(localStorage).find((key) => /chat/.test(key))));
    return chat.turns[0].answers.map((answer) => answer.text);
  })).join(), 'each goes on from its own answer');
});

await test('fill_playground', async () => {
  await page.click('nav a[href="#fill"]');
  await page.selectOption('#fill-tokens', '16');
  await page.click('#fill-run');
  await page.waitForSelector('#fill-result .figure, #fill-result .error', {timeout: 60000});
  const text = await page.textContent('#fill-result');
  must(/(trained|instruct|prefix)method/.test(text) && /latency/.test(text), text);
});

await test('server_state', async () => {
  await page.click('nav a[href="#server"]');
  await page.waitForSelector('.card');
  must((await page.$$('.card')).length >= 2, 'a card per model');
  const first = await page.textContent('#state');
  const body = {max_tokens: 2, messages: [{role: 'user', content: 'Hi'}]};
  const model = (await (await fetch(`${base}/v1/models`)).json()).data[0].id;
  await fetch(`${base}/v1/chat/completions`, {method: 'POST', body: JSON.stringify({...body, model})});
  await page.waitForFunction((was) => document.querySelector('#state').textContent !== was, first,
    {timeout: 5000});
});

// ---- Branches ----
const arrow = (where, which) => page.click(`${where} .arrows button[aria-label^="${which}"]`);
const mark = (where) => page.textContent(`${where} .arrows > span`);

await test('regenerate_and_branch', async () => {
  let n = 0;
  await pretend(() => `answer ${++n}`);
  await say('one');
  await done();
  await page.click('.again');
  await done();
  must((await answers()).join() === 'answer 2' && await mark('.answer') === '2/2', 'second answer');
  await arrow('.answer', 'Previous');
  must((await answers()).join() === 'answer 1', 'back to the first');
  await say('two');
  await done();
  must((await answers()).join() === 'answer 1,answer 3', 'goes on from the first');
  must(asked.at(-1).messages.map((m) => m.content).join() === 'one,answer 1,two', 'what was sent');
  await arrow('.answer', 'Next');
  must((await answers()).join() === 'answer 2', 'the other branch has no second turn');
  await arrow('.answer', 'Previous');
  must((await answers()).join() === 'answer 1,answer 3', 'and nothing is lost');
});

await test('reword_a_message', async () => {
  await pretend((body) => `to ${body.messages.at(-1).content}`);
  await say('one');
  await done();
  await page.hover('.question');
  await page.click('.reword');
  await page.fill('.question textarea', 'uno');
  await page.press('.question textarea', 'Enter');
  await done();
  must((await answers()).join() === 'to uno' && await mark('.question') === '2/2', 'the new wording');
  await arrow('.question', 'Previous');
  must((await answers()).join() === 'to one', 'the old one');
  await page.focus('#prompt');
  await page.keyboard.press('ArrowUp');
  must(await page.inputValue('.question textarea') === 'one', 'arrow up rewords');
});

await test('goes_on_writing', async () => {
  await pretend((body) => (body.messages.at(-1).role === 'assistant' ? ' and more'
    : {text: 'some', finish: 'length'}));
  await say('go');
  await done();
  must((await page.textContent('.stats')).includes('cut off'), 'tells of the limit');
  await page.click('.more');
  await done();
  must((await answers()).join() === 'some and more', (await answers()).join());
});

// ---- Keeping ----
await test('keeps_finds_exports_imports', async () => {
  await pretend((body) => `about ${body.messages.at(-1).content}`);
  await say('zebras');
  await done();
  await page.click('#new-chat');
  await say('giraffes');
  await done();
  await page.reload();
  await page.waitForSelector('#chats .open');
  must((await page.$$('#chats .open')).length === 2, 'both kept');
  await page.fill('#find', 'about zeb');
  must((await page.$$eval('#chats .open', (list) => list.map((e) => e.textContent))).join() === 'zebras',
    'finds by the text of the answer');
  await page.fill('#find', '');
  const [file] = await Promise.all([page.waitForEvent('download'), page.click('#export')]);
  const json = await readFile(await file.path());
  must(JSON.parse(json).chats.length === 2, 'exports both');
  await page.evaluate(() => localStorage.clear());
  await page.reload();
  await page.waitForSelector('#chats .none');
  const bring = async (buffer) => {
    const [chooser] = await Promise.all([page.waitForEvent('filechooser'), page.click('#import')]);
    await chooser.setFiles({name: 'chats.json', mimeType: 'application/json', buffer});
    await page.waitForSelector('#toast:not([hidden])');
  };
  await bring(json);
  await page.click('#chats .open >> text=zebras');
  must((await answers()).join() === 'about zebras', 'the imported chat opens');
  for (const bad of ['{', '[]', '{"format":"octet-chats"}', JSON.stringify({format: 'octet-chats', chats: [
    null, 5, {turns: 7}, {turns: [null, {text: {}, answers: [{lane: 9, text: []}], files: 'x'},
      {id: '0123456789abcdef', parent: '0123456789abcdef'}], sampling: {__proto__x: 1, stop: {}}}]})]) {
    await bring(Buffer.from(bad));
  }
  for (const each of await page.$$('#chats .open')) await each.evaluate((button) => button.click());
});

await test('attaches_text_files', async () => {
  await pretend(() => 'read');
  const choose = async (files) => {
    const [chooser] = await Promise.all([page.waitForEvent('filechooser'),
      page.click('#composer button[aria-label^="Attach"]')]);
    await chooser.setFiles(files);
  };
  await choose([{name: 'a.py', mimeType: 'text/x-python', buffer: Buffer.from('x = "```"\n')},
    {name: 'b.bin', mimeType: 'application/octet-stream', buffer: Buffer.from([0, 255, 1])}]);
  await page.waitForSelector('.chip');
  await page.waitForSelector('#toast:not([hidden])');
  must((await page.$$('.chip')).length === 1, 'only the text');
  await say('what is it');
  await done();
  must(asked[0].messages[0].content === 'a.py:\n````py\nx = "```"\n````\n\nwhat is it',
    asked[0].messages[0].content);
});

// ---- Copying ----
await test('copies_text', async () => {
  const answer = 'Like this:\n\n```py\nprint(1)\n```';
  await pretend(() => answer);
  await say('how?');
  await done();
  await page.hover('.question');
  for (const [where, text] of [['.code button[aria-label="Copy code"]', 'print(1)'],
    ['.foot button[aria-label="Copy answer"]', answer], ['.question button[aria-label="Copy"]', 'how?']]) {
    await page.click(where);
    await page.waitForFunction((want) => navigator.clipboard.readText().then(
      (got) => got.trimEnd() === want), text, {timeout: 5000});
  }
}, {permissions: ['clipboard-read', 'clipboard-write']});

// ---- Hostile ----
const scripts = `<script>window.hit=1</script><img src=x onerror="window.hit=1"><svg onload=window.hit=1>
[a](javascript:window.hit=1) [b](data:text/html,<script>window.hit=1</script>) <javascript:window.hit=1>
![c](http://evil.example/pixel.png) [d](https://example.org/"onmouseover="window.hit=1)

\`\`\`html
<script>window.hit=1</script>
\`\`\`
| a | b |
|---|---|
| <b>x</b> | <iframe src="javascript:window.hit=1"> |

Reversed: \u202Egnp.exe\u2066 and \u0007bell.`;

await test('hostile_text_is_inert', async () => {
  await pretend(() => scripts);
  await say(scripts);
  await done();
  await pause(300);
  must(await page.evaluate(() => window.hit) === undefined, 'a script ran');
  must(await page.$('.markdown script, .markdown img, .markdown svg[onload], .markdown iframe') === null,
    'markup became elements');
  const links = await page.$$eval('#turns a', (list) => list.map((a) => [a.href, a.rel]));
  must(links.length === 2 && links.every(([href, rel]) => /^https?:/.test(href) && /noopener/.test(rel)),
    JSON.stringify(links));
  const text = await page.textContent('.markdown');
  must(text.includes('‹U+202E›') && !text.includes('\u202e'), 'a character that reorders text');
  must(!(await page.textContent('.said')).includes('\u202e'), 'also in the question');
});

await test('hostile_sizes_do_not_freeze', async () => {
  const texts = ['x'.repeat(1 << 20), `\`\`\`c\n${'"'.repeat(1 << 20)}`, '*a '.repeat(6000),
    '['.repeat(19000), '`a``'.repeat(4000), '> '.repeat(9000), `${'- '.repeat(5000)}a`,
    `# ${' '.repeat(15000)}x`, `|${'-|'.repeat(9000)}\n|${'-|'.repeat(900)}`, '**_~~'.repeat(3900),
    '![a]('.repeat(3900), '- a\n\n'.repeat(2000), `${'https://'.repeat(2000)}`,
    `\`\`\`js\n${'/*'.repeat(25000)}`, `\`\`\`py\n${'"""\\'.repeat(12000)}`, `$$${'\\['.repeat(9000)}`];
  for (const text of texts) {
    await page.unroute('**/v1/chat/completions');
    await pretend(() => text);
    await page.click('#new-chat');
    const begun = performance.now();
    await say('go');
    await page.waitForSelector('.markdown > *');
    await done();
    const took = performance.now() - begun;
    must(took < 5000, `${JSON.stringify(text.slice(0, 12))}: ${took.toFixed(0)} ms`);
  }
});

await test('wide_text_fits_narrow_screens', async () => {
  await pretend(() => `\`\`\`\n${'word '.repeat(60)}\n\`\`\`\n\n| ${'a | '.repeat(30)}\n| ${'- | '.repeat(30)}\n\n${'y'.repeat(400)}`);
  await say('z'.repeat(300));
  await done();
  must(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth &&
    document.querySelector('#turns').scrollWidth <= document.querySelector('#turns').clientWidth), 'too wide');
}, {viewport: {width: 360, height: 640}});

await test('errors_are_told', async () => {
  await page.route('**/v1/chat/completions', (route) => route.fulfill({contentType: 'text/event-stream',
    body: 'data: {"choices":[{"delta":{"content":"so"}}]}\n\ndata: {"error":{"message":"<b>broken</b>"}}\n\n'}));
  await say('go');
  await done();
  must(await page.textContent('.answer .error') === '<b>broken</b>', 'an error in the stream');
  must((await answers()).join() === 'so', 'what came before stays');
});

// ---- Keys ----
await test('asks_for_the_key', async () => {
  await page.route('**/v1/chat/completions', (route) => (
    route.request().headers().authorization === 'Bearer open sesame'
      ? route.fulfill({contentType: 'text/event-stream', body:
        'data: {"choices":[{"delta":{"content":"in"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'})
      : route.fulfill({status: 401, contentType: 'application/json', body: '{"error":{"message":"key"}}'})));
  await say('go');
  await page.waitForSelector('#key[open]');
  await page.fill('#key input', 'wrong');
  await page.press('#key input', 'Enter');
  await page.waitForFunction(() => document.querySelector('#key[open] p')?.textContent.includes('not open'));
  await page.fill('#key input', 'open sesame');
  await page.press('#key input', 'Enter');
  await page.waitForFunction(() => document.querySelector('.markdown')?.textContent === 'in');
  must(await page.evaluate(() => sessionStorage.getItem('octet-key') !== null &&
    JSON.stringify(localStorage).includes('sesame') === false), 'kept in the session alone');
  errors = errors.filter((text) => !text.includes('401'));
});

await test('keyboard', async () => {
  await page.fill('#prompt', 'a');
  await page.press('#prompt', 'Shift+Enter');
  must(await page.inputValue('#prompt') === 'a\n', 'Shift+Enter');
  await page.keyboard.press('Control+/');
  await page.waitForSelector('#shortcuts[open]');
  await page.keyboard.press('Escape');
  await page.keyboard.press('Control+,');
  must(await page.isVisible('#settings'), 'Ctrl+,');
  await page.keyboard.press('Alt+s');
  must(!(await page.isVisible('#sidebar')), 'Alt+S');
});

await test('chats_by_keyboard_alone', async () => {
  await pretend((body) => `to ${body.messages.at(-1).content}`);
  await page.keyboard.type('typed'); // the message has the focus
  await page.keyboard.press('Enter');
  await done();
  const labels = [];
  for (let i = 0; i < 40 && !labels.includes('Ask again'); i++) {
    await page.keyboard.press('Shift+Tab');
    labels.push(await page.evaluate(() => document.activeElement.getAttribute('aria-label')));
    must(await page.evaluate(() => document.activeElement === document.body ||
      getComputedStyle(document.activeElement).outlineStyle !== 'none' ||
      document.activeElement.matches('#turns, #prompt')), `no focus shows at ${labels.at(-1)}`);
  }
  must(labels.includes('Ask again'), labels.join());
  await page.keyboard.press('Enter');
  await done();
  must(await mark('.answer') === '2/2', 'tried again');
});

await test('dark_and_light', async () => {
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await paper();
  await page.emulateMedia({colorScheme: 'dark'});
  const dark = await paper();
  must(light !== dark, 'follows the system');
  await page.click('#theme');
  must(await paper() === light, 'the button turns it');
  await page.reload();
  must(await paper() === light, 'and that is kept');
});

// ---- Looks: pictures of what the models really wrote ----
const SELDOM = 500; // looking often would take the time that the pictures tell of
const shown = 'Write a Python function that adds two numbers, and explain it in a short list.';

for (const [name, colorScheme, width, height] of [['light', 'light', 1280, 800], ['dark', 'dark', 1280, 800],
  ['narrow', 'light', 390, 780]]) {
  await test(`looks_${name}`, async () => {
    const tooWide = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    await setting('max_tokens', name === 'dark' ? 72 : 120);
    if (name === 'dark') await page.click('#second');
    else await setting('seed', 11);
    await say(shown);
    await done(SELDOM);
    await pause(200);
    await picture(name);
    must(await tooWide() <= 0, `the chat is ${await tooWide()} px too wide`);
    await page.click('nav a[href="#fill"]');
    if (name === 'light') {
      await page.selectOption('#fill-tokens', '32');
      await page.click('#fill-run');
      await page.waitForFunction(() => document.querySelector('#fill-result .figure'), null,
        {polling: SELDOM});
      await picture('fill');
    }
    must(await tooWide() <= 0, `the playground is ${await tooWide()} px too wide`);
    await page.click('nav a[href="#server"]');
    await page.waitForSelector('.card');
    if (name === 'dark') await picture('server');
    must(await tooWide() <= 0, `the state is ${await tooWide()} px too wide`);
  }, {colorScheme, viewport: {width, height}});
}

await browser.close();
finish();
