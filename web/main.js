// The frame of the page: views, models, theme, keys of the keyboard and of the API.
import {getModels, getProps, hasKey, onKeyNeeded, setKey} from './api.js';
import {currentChat, isRunning, modelFor, modelNames, modelOf, openChat, setModels, setUpChat, stop}
  from './chat.js';
import {setUpComposer, showComposer} from './composer.js';
import {$, icon, iconButton, load, make, save, toast} from './dom.js';
import {isFilling, showFill, stopFilling} from './fill.js';
import {setDefaults, showSettings, toggleSettings} from './settings.js';
import {setUpSidebar, showChats, startChat, toggleSidebar} from './sidebar.js';
import {showState} from './state.js';
import {findChats, keepChat, newChat, readChats} from './store.js';

// ---- Theme ----
const root = document.documentElement, dark = matchMedia('(prefers-color-scheme: dark)');
const isDark = () => (root.dataset.theme ? root.dataset.theme === 'dark' : dark.matches);
const themeButton = iconButton('moon', 'Dark or light', () => {
  root.dataset.theme = isDark() ? 'light' : 'dark';
  save('octet-look', root.dataset.theme);
  showTheme();
}, {id: 'theme'});
function showTheme() { themeButton.replaceChildren(icon(isDark() ? 'sun' : 'moon')); }

function setUpTheme() {
  const saved = load('octet-look', null);
  if (saved === 'dark' || saved === 'light') root.dataset.theme = saved;
  dark.addEventListener('change', showTheme);
  showTheme();
}

// ---- Views ----
const views = {chat: () => $('#prompt').focus(), fill: showFill, server: showState};

function showView() {
  const name = Object.hasOwn(views, location.hash.slice(1)) ? location.hash.slice(1) : 'chat';
  for (const each of Object.keys(views)) $(`#${each}`).hidden = each !== name;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash === `#${name}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  document.body.dataset.view = name;
  views[name]();
}

// ---- Models ----
function sizeOf(name) {
  const n = modelOf(name)?.meta?.n_params;
  if (!n) return '';
  return n >= 1e9 ? ` · ${(n / 1e9).toFixed(1)} B` : ` · ${Math.round(n / 1e6)} M`;
}

function picker(lane) {
  const select = make('select', {id: `model-${lane}`, 'aria-label': lane ? 'Second model' : 'Model'},
    modelNames().map((name) => make('option', {value: name, selected: name === modelFor(lane)},
      name + sizeOf(name))));
  select.addEventListener('change', () => {
    currentChat().models[lane] = select.value;
    keepModels();
  });
  return select;
}

function keepModels() {
  if (currentChat().turns.length > 0) keepChat(currentChat());
  showBar();
}

function toggleSecond() {
  const chat = currentChat();
  chat.models = chat.models.length > 1 ? [modelFor(0)] : [modelFor(0), modelFor(1)];
  keepModels();
}

function showBar() {
  const two = currentChat().models.length > 1;
  $('#bar').replaceChildren(picker(0), ...(two ? [make('span', {class: 'note'}, 'beside'), picker(1)] : []),
    make('span', {class: 'gap'}),
    iconButton('columns', 'Two models side by side', toggleSecond, {id: 'second', 'aria-pressed': two}),
    iconButton('sliders', 'Settings of this chat (Ctrl+,)', () => toggleSettings(),
      {id: 'settings-button', 'aria-pressed': !$('#settings').hidden}));
}

async function readModels() {
  try {
    setModels(await getModels());
    const props = await getProps().catch(() => ({}));
    setDefaults(props.default_generation_settings?.params ?? {});
  } catch (error) {
    toast(error.message, 'Try again', readModels);
  }
  showBar();
}

// ---- The key of the API ----
function askForKey(wasWrong) {
  const dialog = $('#key'), input = make('input', {type: 'password', autocomplete: 'off',
    'aria-label': 'API key', required: true});
  const form = make('form', {method: 'dialog'}, make('h2', {}, 'This server wants a key'),
    make('p', {}, wasWrong ? 'That key does not open it.'
      : 'It is kept until this tab is closed, and sent to this server only.'),
    input, make('div', {class: 'row end'},
      make('button', {type: 'button', onclick: () => dialog.close('')}, 'Cancel'),
      make('button', {class: 'main', value: 'use'}, 'Use it')));
  dialog.replaceChildren(form);
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      const given = dialog.returnValue === 'use' && input.value.trim() !== '';
      if (given) setKey(input.value.trim());
      showKeyButton();
      resolve(given);
    }, {once: true});
  });
}
const keyButton = iconButton('key', 'Forget the API key', () => {
  setKey('');
  showKeyButton();
  readModels();
});
function showKeyButton() { keyButton.hidden = !hasKey(); }

// ---- Keyboard ----
const shortcuts = [
  ['Enter', 'send'], ['Shift Enter', 'new line'], ['Esc', 'stop'], ['↑', 'in an empty field: reword the last message'],
  ['Ctrl Enter', 'fill, in the playground'], ['Alt N', 'new chat'], ['Alt S', 'show or hide the saved chats'],
  ['Ctrl ,', 'settings of the chat'], ['Ctrl /', 'these shortcuts'],
];
function showShortcuts() {
  const dialog = $('#shortcuts');
  if (dialog.open) {
    dialog.close();
    return;
  }
  dialog.replaceChildren(make('form', {method: 'dialog'}, make('h2', {}, 'Keyboard'),
    make('dl', {}, shortcuts.map(([keys, what]) => make('div', {},
      make('dt', {}, keys.split(' ').map((key) => make('kbd', {}, key))), make('dd', {}, what)))),
    make('div', {class: 'row end'}, make('button', {class: 'main'}, 'Close'))));
  dialog.showModal();
}

function onKey(event) {
  const control = event.ctrlKey || event.metaKey;
  if (event.key === 'Escape') {
    if (isFilling()) stopFilling();
    else if (isRunning() && !document.querySelector('dialog[open]')) stop();
    else if (document.body.classList.contains('with-sidebar')) toggleSidebar(false);
  } else if (control && event.key === '/') {
    event.preventDefault();
    showShortcuts();
  } else if (control && event.key === ',') {
    event.preventDefault();
    toggleSettings();
  } else if (event.altKey && !control && event.code === 'KeyN') {
    event.preventDefault();
    location.hash = '#chat';
    startChat();
  } else if (event.altKey && !control && event.code === 'KeyS') {
    event.preventDefault();
    toggleSidebar();
  }
}

// ---- Beginning ----
async function begin() {
  setUpTheme();
  $('#tools').append(keyButton, make('button', {type: 'button', class: 'icon', id: 'help',
    title: 'Keyboard shortcuts (Ctrl+/)', 'aria-label': 'Keyboard shortcuts', onclick: showShortcuts}, '?'),
  themeButton);
  showKeyButton();
  onKeyNeeded(askForKey);
  setUpComposer();
  setUpSidebar();
  readChats();
  setUpChat(() => {
    showChats();
    showComposer();
    if (document.activeElement?.closest('#settings') === null) showSettings();
    showBar();
  });
  openChat(newChat(findChats('')[0]));
  await readModels();
  openChat(currentChat());
  addEventListener('hashchange', showView);
  addEventListener('keydown', onKey);
  showView();
}

begin();
