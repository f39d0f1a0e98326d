// The state of the server, from its metrics, once a second while this view is looked at.
import {getMetrics} from './api.js';
import {$, bytes, count, make, seconds} from './dom.js';
import {modelOf} from './chat.js';

let timer = 0;
let last = {}; // by model: generated tokens and when, for the rate

const valueOf = (rows, name, model) => rows.find((row) => row.name === name &&
  (!model || row.labels.model === model))?.value ?? 0;

// The bound below which SHARE of a histogram's counts lie; NaN: there are none.
function quantile(rows, name, model, share) {
  const buckets = rows.filter((row) => row.name === `${name}_bucket` && row.labels.model === model)
    .map((row) => [row.labels.le === '+Inf' ? Infinity : Number(row.labels.le), row.value]);
  const all = buckets.at(-1)?.[1] ?? 0;
  if (all === 0) return NaN;
  return buckets.find(([, n]) => n >= share * all)[0];
}
function timeOf(rows, name, model) {
  const half = quantile(rows, name, model, 0.5), most = quantile(rows, name, model, 0.95);
  const tell = (s) => (Number.isFinite(s) ? `≤ ${seconds(1000 * s)}` : 'longer');
  return Number.isNaN(half) ? '–' : `${tell(half)} · 95 % ${tell(most)}`;
}

function fact(name, value, title) {
  return make('div', {title}, make('dt', {}, name), make('dd', {}, value));
}
function share(name, part, whole, title) {
  const value = whole > 0 ? part / whole : 0;
  return make('div', {title}, make('dt', {}, name), make('dd', {},
    whole > 0 ? `${(100 * value).toFixed(0)} % ` : '– ', make('meter', {min: 0, max: 1, value})));
}

function modelCard(rows, model) {
  const get = (name) => valueOf(rows, `octet_${name}`, model);
  const prompt = get('prompt_tokens_total'), cached = get('prompt_tokens_cached_total');
  const hits = get('expert_hits_total'), misses = get('expert_misses_total');
  const guessed = get('draft_tokens_total');
  const active = get('requests_active'), waiting = get('requests_waiting');
  const meta = modelOf(model)?.meta;
  return make('section', {class: 'card'},
    make('h2', {}, model, make('span', {class: active > 0 ? 'badge on' : 'badge'},
      active > 0 ? `answering ${count(active)}` : 'idle')),
    meta ? make('p', {class: 'note'}, `${(meta.n_params / 1e6).toFixed(0)} M parameters, ` +
      `${bytes(meta.size)}, context ${count(meta.n_ctx)} tokens`) : null,
    make('dl', {},
      fact('In the queue', count(waiting)),
      fact('Requests', `${count(get('requests_total'))} · ${count(get('requests_cancelled_total'))} ` +
        `cancelled · ${count(get('requests_failed_total'))} failed · ` +
        `${count(get('requests_refused_total'))} refused`),
      fact('Tokens read', count(prompt)),
      share('of them cached', cached, prompt, 'tokens of prompts that needed no computing'),
      hits + misses > 0 ? share('Experts at hand', hits, hits + misses) : null,
      fact('Tokens written', count(get('generated_tokens_total'))),
      guessed > 0 ? share('Guesses right', get('draft_tokens_accepted_total'), guessed,
        'tokens that were guessed ahead, and how many of them were found right') : null,
      fact('First token', timeOf(rows, 'octet_time_to_first_token_seconds', model)),
      fact('Each next one', timeOf(rows, 'octet_time_per_token_seconds', model)),
      fact('Busy', `${seconds(1000 * get('prefill_seconds_total'))} reading, ` +
        `${seconds(1000 * get('decode_seconds_total'))} writing`)));
}

function draw(rows) {
  const models = [...new Set(rows.filter((row) => row.name === 'octet_requests_total')
    .map((row) => row.labels.model))];
  const sum = (name) => rows.filter((row) => row.name === name)
    .reduce((total, row) => total + row.value, 0);
  const written = sum('octet_generated_tokens_total'), now = performance.now();
  const rate = last.at ? (written - last.written) / ((now - last.at) / 1000) : 0;
  if (!last.at || written !== last.written || now - last.at > 10000) {
    last = {written, at: now, rate};
  }
  const figure = (name, value, title) => make('div', {class: 'figure', title}, make('b', {}, value),
    make('span', {}, name));
  $('#state').replaceChildren(
    make('div', {class: 'figures'},
      figure('answering', count(sum('octet_requests_active'))),
      figure('in the queue', count(sum('octet_requests_waiting'))),
      figure('tokens written', count(written)),
      figure('of prompts cached', sum('octet_prompt_tokens_total') > 0
        ? `${(100 * sum('octet_prompt_tokens_cached_total') / sum('octet_prompt_tokens_total')).toFixed(0)} %`
        : '–'),
      figure('memory of its own', bytes(sum('octet_memory_bytes')), 'without the files of the models'),
      figure('open exchanges', count(Math.max(0, sum('octet_exchanges') - 1)))),
    make('div', {class: 'cards'}, models.map((model) => modelCard(rows, model))));
}

async function refresh() {
  clearTimeout(timer);
  if ($('#server').hidden || document.hidden) return;
  let wait = 1000;
  try {
    draw(await getMetrics());
  } catch (error) {
    wait = 5000;
    $('#state').replaceChildren(make('p', {class: 'error', role: 'alert'}, error.message));
  }
  timer = setTimeout(refresh, wait);
}

export function showState() {
  if ($('#server').childElementCount === 0) {
    $('#server').append(make('h1', {}, 'This server'), make('div', {id: 'state'}),
      make('p', {class: 'note'}, 'Once a second from ', make('a', {href: 'metrics'}, '/metrics'),
        ', which Prometheus reads as well.'));
    document.addEventListener('visibilitychange', refresh);
  }
  refresh();
}
