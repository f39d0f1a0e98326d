// The playground for filling in the middle: a text before, a text after, and what a model would put
// between them, by which method and how fast. It asks /infill as editors do.
import {fillHole} from './api.js';
import {$, copyButton, count, icon, iconButton, load, make, save, seconds} from './dom.js';
import {highlight} from './highlight.js';
import {modelNames} from './chat.js';
import {visible} from './markdown.js';

const kept = 'octet-fill';
const example = {prefix: 'def mean(values):\n    """The arithmetic mean."""\n    total = 0\n    for ',
  suffix: '\n    return total / len(values)\n', language: 'python', method: 'auto', tokens: 64};
const languages = ['python', 'c', 'cpp', 'javascript', 'go', 'rust', 'java', 'bash', 'sql', 'text'];
let asked = {...example};
let controller = null;

export const isFilling = () => controller !== null;
export const stopFilling = () => controller?.abort();

function area(key, name, hint) {
  const element = make('textarea', {id: `fill-${key}`, rows: 8, spellcheck: 'false', wrap: 'off',
    placeholder: hint});
  element.value = asked[key];
  element.addEventListener('input', () => {
    asked[key] = element.value;
    save(kept, asked);
  });
  element.addEventListener('keydown', (event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      fill();
    } else if (event.key === 'Tab' && !event.shiftKey && !event.ctrlKey) {
      event.preventDefault();
      element.setRangeText('    ', element.selectionStart, element.selectionEnd, 'end');
      element.dispatchEvent(new Event('input'));
    }
  });
  return make('label', {class: 'tall'}, make('span', {}, name), element);
}

function choice(key, name, values) {
  const select = make('select', {id: `fill-${key}`}, values.map((value) => (
    make('option', {value, selected: String(value) === String(asked[key])}, value))));
  select.addEventListener('change', () => {
    asked[key] = typeof asked[key] === 'number' ? Number(select.value) : select.value;
    save(kept, asked);
  });
  return make('label', {}, make('span', {}, name), select);
}

function figure(name, value, title) {
  return make('div', {class: 'figure', title}, make('b', {}, value), make('span', {}, name));
}

function part(text, className) {
  const element = make('span', {class: className});
  highlight(element, visible(text), asked.language);
  return element;
}

function showResult(result) {
  const content = String(result.content ?? ''), timings = result.timings ?? {};
  const before = asked.prefix.split('\n').slice(-12).join('\n');
  const after = asked.suffix.split('\n').slice(0, 12).join('\n');
  const accept = () => {
    asked.prefix += content;
    save(kept, asked);
    $('#fill-prefix').value = asked.prefix;
    $('#fill-result').replaceChildren();
    $('#fill-prefix').focus();
  };
  $('#fill-result').replaceChildren(
    make('div', {class: 'figures'},
      figure('method', String(result.fim_method ?? 'not told'), 'how the model was asked'),
      figure('latency', seconds(result.ms), 'from the request to the whole answer, seen from here'),
      figure('tokens written', count(result.tokens_predicted ?? 0)),
      figure('tokens read', count(timings.prompt_n ?? 0), 'of the prompt that had to be computed'),
      figure('tokens cached', count(result.tokens_cached ?? 0), 'of the prompt that had not'),
      figure('tokens/s', timings.predicted_per_second?.toFixed(1) ?? '–', 'speed of writing')),
    make('figure', {class: 'code'},
      make('figcaption', {}, make('span', {}, content ? `${count(content.length)} characters`
        : 'nothing to put between'), iconButton('check', 'Take it into the text before', accept),
      copyButton(content)),
      make('pre', {tabindex: '0'}, make('code', {}, part(before, 'dim'),
        part(content, 'filled'), part(after, 'dim')))));
}

function showButton() {
  $('#fill-run').replaceChildren(icon(controller ? 'stop' : 'play'),
    controller ? 'Stop' : 'Fill');
}

async function fill() {
  if (controller) return;
  const box = $('#fill-result');
  controller = new AbortController();
  showButton();
  box.replaceChildren(make('p', {class: 'note'}, 'Filling …'));
  const cut = asked.prefix.lastIndexOf('\n') + 1; // as editors do: the line of the hole goes apart
  const body = {input_prefix: asked.prefix.slice(0, cut), prompt: asked.prefix.slice(cut),
    input_suffix: asked.suffix, n_predict: asked.tokens, stream: false};
  if (asked.model && modelNames().includes(asked.model)) body.model = asked.model;
  if (asked.method !== 'auto') body.fim_method = asked.method;
  try {
    showResult(await fillHole(body, controller.signal));
  } catch (error) {
    box.replaceChildren(error.name === 'AbortError' ? make('p', {class: 'note'}, 'Stopped.')
      : make('p', {class: 'error', role: 'alert'}, error.message));
  }
  controller = null;
  showButton();
}

export function showFill() {
  if ($('#fill').childElementCount > 0) return;
  const saved = load(kept, {});
  for (const key of Object.keys(example)) {
    if (typeof saved[key] === typeof example[key]) asked[key] = saved[key];
  }
  asked.model = modelNames().includes(saved.model) ? saved.model : modelNames()[0];
  $('#fill').append(
    make('div', {class: 'pair'},
      make('div', {},
        make('h1', {}, 'Fill in the middle'),
        make('p', {class: 'note'}, 'What an editor asks for at each pause: the text between a ' +
          'beginning and an end. Ctrl+Enter fills, Esc stops.'),
        area('prefix', 'Before the hole', 'The text before the cursor'),
        area('suffix', 'After the hole', 'The text after the cursor'),
        make('div', {class: 'row choices'}, choice('model', 'Model', modelNames()),
          choice('method', 'Method', ['auto', 'trained', 'instruct', 'prefix']),
          choice('tokens', 'At most', [16, 32, 64, 128, 256]),
          choice('language', 'Colours', languages), make('span', {class: 'gap'}),
          make('button', {type: 'button', id: 'fill-run', class: 'main',
            onclick: () => (controller ? stopFilling() : fill())}))),
      make('div', {id: 'fill-result', 'aria-live': 'polite'},
        make('p', {class: 'empty'}, 'The text between comes here, with how it was found and how fast.'))));
  showButton();
}
