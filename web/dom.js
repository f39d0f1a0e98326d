// Making elements, and what every part of the page needs from the browser. Text only ever becomes
// text nodes: nothing here or elsewhere parses a string as markup.

// make('p', {class: 'x', title: 'y', onclick: f}, 'text', node, null) -> <p class="x" ...>
export function make(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const $ = (selector, within = document) => within.querySelector(selector);

// ---- Icons: strokes in a box of 16 by 16 ----
const strokes = {
  attach: 'M10.5 5.5 6 10a1.4 1.4 0 0 0 2 2l5-5a2.8 2.8 0 0 0-4-4L4 8a4.2 4.2 0 0 0 6 6l3.5-3.5',
  check: 'm3 8.5 3.2 3.2L13 5',
  close: 'm4 4 8 8M12 4l-8 8',
  columns: 'M2.5 3h11v10h-11zM8 3v10',
  copy: 'M5.5 5.5h7v7h-7zM10.5 5.5v-2h-7v7h2',
  down: 'M8 2.5v7.5M4.5 7 8 10.5 11.5 7M3 13.5h10',
  edit: 'm3 13 .6-2.8L10.8 3a1.3 1.3 0 0 1 1.9 0l.3.3a1.3 1.3 0 0 1 0 1.9L5.8 12.4z',
  key: 'M9 7 3 13v.5h2V12h1.5v-1.5L9 9M9 7a2.8 2.8 0 1 1 2 2H9z',
  left: 'm9.5 4-4 4 4 4',
  menu: 'M2.5 4.5h11M2.5 8h11M2.5 11.5h11',
  moon: 'M13 9.6A5.5 5.5 0 0 1 6.4 3 5.5 5.5 0 1 0 13 9.6z',
  play: 'M5 3.5v9l7-4.5z',
  plus: 'M8 3v10M3 8h10',
  redo: 'M12.8 8.5A4.9 4.9 0 1 1 11.4 4.6L13 6M13 2.8V6H9.8',
  right: 'm6.5 4 4 4-4 4',
  send: 'M8 13V3.5M4 7l4-4 4 4',
  sliders: 'M2.5 5h5M11.5 5h2M9.5 3.2v3.6M2.5 11h2M8.5 11h5M6.5 9.2v3.6',
  stop: 'M4.5 4.5h7v7h-7z',
  sun: 'M8 5.2a2.8 2.8 0 1 0 0 5.6 2.8 2.8 0 0 0 0-5.6M8 1.5v1.2M8 13.3v1.2M1.5 8h1.2M13.3 8h1.2' +
    'M3.4 3.4l.9.9M11.7 11.7l.9.9M12.6 3.4l-.9.9M4.3 11.7l-.9.9',
  trash: 'M3 4.5h10M6.5 4.5v-2h3v2M4.5 4.5l.6 9h5.8l.6-9',
  up: 'M8 10.5V3M4.5 6 8 2.5 11.5 6M3 13.5h10',
  wrap: 'M2.5 4h11M2.5 8h9a2 2 0 0 1 0 4H8M9.8 10 7.8 12l2 2M2.5 12h2.5',
};
export function icon(name) {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg'), path = document.createElementNS(space, 'path');
  svg.setAttribute('viewBox', '0 0 16 16');
  svg.setAttribute('aria-hidden', 'true');
  path.setAttribute('d', strokes[name]);
  svg.append(path);
  return svg;
}

// A button that shows an icon, with its name for pointers and screen readers.
export function iconButton(name, title, onclick, props = {}) {
  return make('button', {type: 'button', class: 'icon', title, 'aria-label': title, onclick, ...props},
    icon(name));
}

// ---- Numbers ----
const plain = new Intl.NumberFormat('en', {maximumFractionDigits: 0});
export const count = (n) => plain.format(n);
export function seconds(ms) {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  return ms < 60000 ? `${(ms / 1000).toFixed(ms < 10000 ? 2 : 1)} s`
    : `${Math.floor(ms / 60000)} min ${Math.round(ms % 60000 / 1000)} s`;
}
export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${n.toFixed(i > 0 && n < 100 ? 1 : 0)} ${units[i]}`;
}

// ---- Storage, which a browser may forbid; the page then forgets ----
export function load(key, otherwise, storage = localStorage) {
  try { return JSON.parse(storage.getItem(key)) ?? otherwise; } catch { return otherwise; }
}
export function save(key, value, storage = localStorage) {
  try {
    if (value === undefined) storage.removeItem(key);
    else storage.setItem(key, JSON.stringify(value));
    return true;
  } catch { return false; }
}

// ---- Small services ----
let toastTimer = 0;
export function toast(text, action, act) {
  const box = $('#toast');
  box.replaceChildren(text);
  if (action) {
    box.append(make('button', {type: 'button', onclick: () => { box.hidden = true; act(); }}, action));
  }
  box.hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { box.hidden = true; }, action ? 8000 : 4000);
}

// Pages that come over plain HTTP from another machine have no clipboard of the new kind.
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make('textarea', {class: 'offscreen'});
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
}
export function copyButton(text, title = 'Copy') {
  return iconButton('copy', title, async (event) => {
    const button = event.currentTarget;
    await copyText(typeof text === 'function' ? text() : text);
    button.replaceChildren(icon('check'));
    setTimeout(() => button.replaceChildren(icon('copy')), 1500);
  });
}

export function download(name, text, type = 'application/json') {
  const url = URL.createObjectURL(new Blob([text], {type}));
  make('a', {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// Lets the person choose files; [] if they do not.
export function pickFiles(accept, multiple) {
  return new Promise((resolve) => {
    const input = make('input', {type: 'file', accept, multiple,
      onchange: () => resolve([...input.files]), oncancel: () => resolve([])});
    input.click();
  });
}

export function growWithText(area, most) {
  area.style.height = 'auto';
  area.style.height = `${Math.min(area.scrollHeight + 2, most)}px`;
}

export const randomId = () => [...crypto.getRandomValues(new Uint8Array(8))]
  .map((byte) => byte.toString(16).padStart(2, '0')).join('');
