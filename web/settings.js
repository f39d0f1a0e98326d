// What a chat asks of the server beside its messages: system prompt and sampling. A field that is
// left empty is not sent, so that the server's own default holds. Presets keep both under a name.
import {$, iconButton, load, make, save, toast} from './dom.js';
import {currentChat} from './chat.js';
import {keepChat} from './store.js';

const fields = [
  {key: 'temperature', name: 'Temperature', min: 0, max: 100, step: 0.05,
    hint: '0 always takes the likeliest token'},
  {key: 'top_p', name: 'Top p', min: 0, max: 1, step: 0.01,
    hint: 'draws from the likeliest tokens that have this much chance together'},
  {key: 'top_k', name: 'Top k', min: 0, max: 100000, step: 1,
    hint: 'draws from so many of the likeliest tokens; 0: all'},
  {key: 'min_p', name: 'Min p', min: 0, max: 1, step: 0.01,
    hint: 'leaves out tokens less likely than this share of the likeliest'},
  {key: 'repeat_penalty', name: 'Repeat penalty', min: 0.01, max: 100, step: 0.01,
    hint: 'above 1 makes tokens that were there less likely'},
  {key: 'frequency_penalty', name: 'Frequency penalty', min: -100, max: 100, step: 0.1,
    hint: 'the same, for each time they were there'},
  {key: 'presence_penalty', name: 'Presence penalty', min: -100, max: 100, step: 0.1,
    hint: 'the same, once'},
  {key: 'seed', name: 'Seed', min: 0, max: 2 ** 53, step: 1,
    hint: 'the same seed and prompt give the same answer; empty: drawn anew'},
  {key: 'max_tokens', name: 'Longest answer', min: 1, max: 2 ** 31 - 1, step: 1,
    hint: 'in tokens; empty: as long as the context'},
];
const presetsName = 'octet-presets';
let defaults = {};

export function setDefaults(values) {
  defaults = values;
  showSettings();
}

const changed = () => keepChat(currentChat());

function set(key, value) {
  const {sampling} = currentChat();
  if (value === null) delete sampling[key];
  else sampling[key] = value;
  changed();
}

function numberField({key, name, min, max, step, hint}) {
  const value = currentChat().sampling[key], own = defaults[key];
  const input = make('input', {type: 'number', id: `set-${key}`, min, max, step: 'any', title: hint,
    placeholder: Number.isFinite(own) ? String(Number(own.toPrecision(6))) : 'server’s', 'data-step': step});
  if (value !== undefined) input.value = value;
  input.addEventListener('input', () => {
    const wrong = !input.validity.valid, n = input.value === '' ? null : Number(input.value);
    input.classList.toggle('wrong', wrong);
    if (!wrong) set(key, n !== null && step === 1 ? Math.round(n) : n);
  });
  return make('label', {class: 'field', title: hint}, make('span', {}, name), input);
}

function textField(name, id, rows, value, oninput, placeholder) {
  const area = make('textarea', {id, rows, placeholder, spellcheck: 'false'});
  area.value = value;
  area.addEventListener('input', () => oninput(area.value));
  return make('label', {class: 'tall'}, make('span', {}, name), area);
}

// ---- Presets: {name: {system, sampling}} ----
function presetRow() {
  const presets = load(presetsName, {}), chat = currentChat();
  const same = (preset) => JSON.stringify(preset) ===
    JSON.stringify({system: chat.system, sampling: chat.sampling});
  const select = make('select', {id: 'preset', 'aria-label': 'Preset'},
    make('option', {value: ''}, 'Preset …'), Object.keys(presets).sort().map((name) => (
      make('option', {value: name, selected: same(presets[name])}, name))));
  const keepPresets = () => {
    save(presetsName, presets);
    showSettings();
  };
  select.addEventListener('change', () => {
    const preset = presets[select.value];
    if (!preset) return;
    Object.assign(chat, {system: preset.system, sampling: {...preset.sampling}});
    changed();
    showSettings();
  });
  const name = make('input', {placeholder: 'Name of a new preset', 'aria-label': 'Name of a new preset',
    maxlength: 60});
  const add = () => {
    if (name.value.trim() === '') return toast('A preset needs a name.');
    presets[name.value.trim()] = {system: chat.system, sampling: {...chat.sampling}};
    return keepPresets();
  };
  name.addEventListener('keydown', (event) => event.key === 'Enter' && add());
  return make('div', {class: 'presets'},
    make('div', {class: 'row'}, select, iconButton('trash', 'Delete this preset', () => {
      delete presets[select.value];
      keepPresets();
    })),
    make('div', {class: 'row'}, name, iconButton('plus', 'Keep these settings as a preset', add)));
}

export function showSettings() {
  const chat = currentChat(), box = $('#settings');
  if (!chat || box.hidden) return;
  box.replaceChildren(
    make('div', {class: 'row'}, make('h2', {}, 'This chat'), make('span', {class: 'gap'}),
      iconButton('close', 'Close', () => toggleSettings(false))),
    textField('System prompt', 'system', 5, chat.system, (value) => {
      chat.system = value;
      changed();
    }, 'None'),
    make('h3', {}, 'Sampling'),
    make('p', {class: 'note'}, 'Empty fields are left to the server.'),
    ...fields.map(numberField),
    textField('Stop at, one per line', 'set-stop', 2, (chat.sampling.stop ?? []).join('\n'), (value) => {
      const stops = value.split('\n').filter(Boolean);
      set('stop', stops.length > 0 ? stops : null);
    }, 'None'),
    make('div', {class: 'row'}, make('button', {type: 'button', onclick: () => {
      chat.sampling = {};
      changed();
      showSettings();
    }}, 'Empty them all')),
    make('h3', {}, 'Presets'), presetRow());
}

export function toggleSettings(shown) {
  const box = $('#settings');
  box.hidden = shown === undefined ? !box.hidden : !shown;
  $('#settings-button').setAttribute('aria-pressed', !box.hidden);
  showSettings();
}
