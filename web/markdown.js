// Markdown as models write it, made into elements. What a model writes is hostile until shown
// otherwise: it only becomes text nodes, links go to http, https and mailto only, images are not
// loaded, and characters that reorder or hide text are shown by their codes.
import {copyButton, iconButton, make} from './dom.js';
import {highlight} from './highlight.js';

// Beyond these a text is shown as it is.
const longestInline = 20000, deepest = 8;

// Controls that turn or hide text: bidirectional embeddings, overrides and isolates, and the like.
const controls = /[\u0000-\u0008\u000b-\u001f\u007f\u202a-\u202e\u2066-\u2069\u{e0000}-\u{e007f}]/gu;
export function visible(text) {
  return text.replace(controls, (control) => {
    const code = control.codePointAt(0).toString(16).toUpperCase().padStart(4, '0');
    return code === '000D' ? '' : `‹U+${code}›`;
  });
}

// ---- Inline ----
function safeLink(target) {
  try {
    const url = new URL(target);
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch { return null; }
}

// A link tells where it goes, and the place learns nothing of this page.
function link(href) {
  return make('a', {href, title: visible(href), target: '_blank', rel: 'noopener noreferrer nofollow'});
}

function codeSpan(text, at) {
  const ticks = /`+/y;
  ticks.lastIndex = at;
  const mark = ticks.exec(text)[0];
  for (let end = text.indexOf(mark, at + mark.length); end >= 0; end = text.indexOf(mark, end)) {
    let past = end + mark.length;
    while (text[past] === '`') past++;
    if (past === end + mark.length) {
      const inner = text.slice(at + mark.length, end);
      const padded = inner.startsWith(' ') && inner.endsWith(' ') && inner.trim() !== '';
      return {end: past, node: make('code', {}, visible(padded ? inner.slice(1, -1) : inner))};
    }
    end = past;
  }
  return {end: at + mark.length, node: mark};
}

const isSpace = (char) => char === undefined || /\s/.test(char);
const isWord = (char) => char !== undefined && /[\p{L}\p{N}]/u.test(char);

function emphasis(text, at, depth) {
  const char = text[at];
  let n = 1;
  while (text[at + n] === char) n++;
  const tags = char === '~' ? {2: ['del']} : {3: ['strong', 'em'], 2: ['strong'], 1: ['em']};
  const opens = !isSpace(text[at + n]) && !(char === '_' && isWord(text[at - 1]));
  const mark = char.repeat(n), names = tags[n];
  for (let end = at, tries = 0; opens && names && tries < 50; tries++) {
    end = text.indexOf(mark, end + n);
    if (end < 0) break;
    const alone = text[end - 1] !== char && text[end + n] !== char;
    if (end === at + n || isSpace(text[end - 1]) || (!alone && n < 2)) continue;
    if (char === '_' && isWord(text[end + n])) continue;
    const outer = make(names[0]), inner = names[1] ? make(names[1]) : outer;
    if (inner !== outer) outer.append(inner);
    inline(inner, text.slice(at + n, end), depth + 1);
    return {end: end + n, node: outer};
  }
  return {end: at + n, node: mark};
}

// [text](target "title"), of which the title is left out; an image likewise.
const linkShape = new RegExp('!?\\[((?:[^[\\]\\\\]|\\\\.|\\[[^[\\]]{0,200}\\]){0,1000})\\]' +
  '\\(<?([^\\s()<>]{1,2000}(?:\\([^\\s()]{0,200}\\)[^\\s()<>]{0,2000})?)>?(?:\\s+"[^"]{0,500}")?\\)', 'y');
function bracketLink(text, at, depth) {
  const image = text[at] === '!';
  linkShape.lastIndex = at;
  const match = linkShape.exec(text), href = match && safeLink(match[2]);
  if (!match) return {end: at + 1, node: text[at]};
  if (!href) return {end: at + match[0].length, node: visible(match[0])};
  const node = link(href);
  if (image) node.append(`image: ${visible(match[1]) || href}`);
  else inline(node, match[1], depth + 1);
  return {end: at + match[0].length, node};
}

function bareLink(text, at, pattern) {
  pattern.lastIndex = at;
  const match = pattern.exec(text);
  const target = match && (match[1] ?? match[0].replace(/[.,;:!?'"*_)\]]+$/, ''));
  const href = target && safeLink(target);
  if (!href) return {end: at + 1, node: text[at]};
  const node = link(href);
  node.append(visible(target));
  return {end: at + (match[1] ? match[0].length : target.length), node};
}

function spanAt(text, at, depth) {
  const char = text[at];
  if (char === '`') return codeSpan(text, at);
  if (char === '*' || char === '_' || char === '~') return emphasis(text, at, depth);
  if (char === '[' || char === '!') return bracketLink(text, at, depth);
  if (char === '<') return bareLink(text, at, /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y);
  if (char === 'h') return bareLink(text, at, /https?:\/\/[^\s<>"`]{1,2000}/y);
  if (char === '\n') {
    const hard = text.slice(Math.max(0, at - 2), at) === '  ' || text[at - 1] === '\\';
    return {end: at + 1, node: hard ? make('br') : '\n'};
  }
  const next = text[at + 1]; // after a backslash
  return next && /[!-/:-@[-`{-~]/.test(next) ? {end: at + 2, node: next} : {end: at + 1, node: '\\'};
}

function inline(parent, text, depth = 0) {
  if (text.length > longestInline || depth > deepest) {
    parent.append(visible(text));
    return;
  }
  const special = /[\\`*_~[<\n]|!\[|https?:\/\//g;
  let from = 0;
  for (let match; (match = special.exec(text));) {
    const {end, node} = spanAt(text, match.index, depth);
    parent.append(visible(text.slice(from, match.index)), node);
    from = special.lastIndex = end;
  }
  parent.append(visible(text.slice(from)));
}

// ---- Blocks ----
const fence = /^( *)(`{3,}|~{3,})([^`]*)$/;
const heading = /^ {0,3}(#{1,6})(?:\s+(.*)|)$/;
const item = /^( *)([-*+]|\d{1,9}[.)])(?: +(.*)|)$/;
const quote = /^ {0,3}> ?/;
const delimiterRow = /^ *\|? *:?-+:? *(?:\| *:?-+:? *)*\|? *$/;
const isBlank = (line) => line.trim() === '';
const isRule = (line) => line.length < 200 && /^ {0,3}([-*_])(?: *\1){2,} *$/.test(line);
const isShort = (line) => line.length <= longestInline;
const isTable = (lines, i) => isShort(lines[i]) && lines[i].includes('|') && i + 1 < lines.length &&
  lines[i + 1].length < 2000 && lines[i + 1].includes('-') && delimiterRow.test(lines[i + 1]);
const isMath = (line) => /^\s*(?:\$\$|\\\[)/.test(line.slice(0, 200));

function interrupts(lines, i) {
  const line = lines[i];
  return isBlank(line) || fence.test(line) || (isShort(line) && heading.test(line)) || quote.test(line) ||
    isRule(line) || /^ {0,3}(?:[-*+]|1[.)]) +\S/.test(line) || isTable(lines, i);
}

function endOfFence(lines, i) {
  const [, , mark] = fence.exec(lines[i]);
  for (let k = i + 1; k < lines.length; k++) {
    const text = lines[k].trim();
    if (text.length >= mark.length && text === mark[0].repeat(text.length)) return k + 1;
  }
  return lines.length;
}

function endOfMath(lines, i) {
  const close = lines[i].trim().startsWith('$$') ? '$$' : '\\]';
  const once = lines[i].trim().slice(2);
  if (once.includes(close)) return i + 1;
  const end = lines.findIndex((line, k) => k > i && line.includes(close));
  return end < 0 ? lines.length : end + 1;
}

const indentOf = (line) => line.length - line.trimStart().length;

function endOfList(lines, i) {
  const base = indentOf(lines[i]);
  const belongs = (line) => item.test(line) || indentOf(line) > base + 1;
  let k = i + 1;
  while (k < lines.length) {
    if (fence.test(lines[k])) {
      if (indentOf(lines[k]) <= base) return k;
      k = endOfFence(lines, k);
    } else if (isBlank(lines[k])) {
      const next = lines.findIndex((line, at) => at > k && !isBlank(line));
      if (next < 0 || !belongs(lines[next]) || isRule(lines[next])) return k;
      k = next;
    } else if (belongs(lines[k]) || !interrupts(lines, k)) {
      k++;
    } else {
      return k;
    }
  }
  return k;
}

// Where the block that begins at line I ends.
function endOfBlock(lines, i) {
  const line = lines[i];
  if (fence.test(line)) return endOfFence(lines, i);
  if (isShort(line) && (heading.test(line) || isRule(line))) return i + 1;
  if (isMath(line)) return endOfMath(lines, i);
  let k = i + 1;
  if (quote.test(line)) {
    while (k < lines.length && quote.test(lines[k])) k++;
  } else if (isShort(line) && item.test(line)) {
    return endOfList(lines, i);
  } else if (isTable(lines, i)) {
    while (k < lines.length && lines[k].includes('|') && isShort(lines[k])) k++;
  } else {
    while (k < lines.length && !interrupts(lines, k)) k++;
  }
  return k;
}

export function codeBlock(code, language) {
  const body = make('code');
  highlight(body, visible(code), language);
  return make('figure', {class: 'code'},
    make('figcaption', {}, make('span', {}, visible(language).slice(0, 40) || 'text'),
      iconButton('wrap', 'Wrap long lines', () => document.body.classList.toggle('wrap-code')),
      copyButton(code, 'Copy code')),
    make('pre', {tabindex: '0'}, body));
}

function renderFence(lines) {
  const [, indent, mark, info] = fence.exec(lines[0]);
  const last = lines.at(-1).trim();
  const closed = lines.length > 1 && last.length >= mark.length && last === mark[0].repeat(last.length);
  const inner = lines.slice(1, closed ? -1 : undefined)
    .map((line) => line.slice(Math.min(indent.length, indentOf(line))));
  return codeBlock(inner.join('\n'), info.trim().split(/[\s{:]/)[0]);
}

function renderList(lines, depth) {
  const base = indentOf(lines[0]), [, , mark] = item.exec(lines[0]);
  const ordered = /\d/.test(mark), tight = !lines.some(isBlank);
  const list = make(ordered ? 'ol' : 'ul', {start: ordered && mark !== '1.' ? parseInt(mark, 10) : null});
  let inner = [], width = 0;
  const flush = () => {
    if (inner.length === 0) return;
    const task = /^\[([ xX])\] +/.exec(inner[0]);
    if (task) inner[0] = (task[1] === ' ' ? '☐ ' : '☑ ') + inner[0].slice(task[0].length);
    const element = make('li', {class: task ? 'task' : null});
    renderInto(element, inner, depth + 1);
    if (tight) {
      element.querySelectorAll(':scope > p').forEach((p) => p.replaceWith(...p.childNodes));
    }
    list.append(element);
  };
  for (const line of lines) {
    const match = isShort(line) ? item.exec(line) : null;
    if (match && match[1].length <= base + 1) {
      flush();
      inner = [match[3] ?? ''];
      width = match[1].length + match[2].length + 1;
    } else {
      inner.push(line.slice(Math.min(width, indentOf(line))));
    }
  }
  flush();
  return list;
}

function cellsOf(line) {
  const cells = line.trim().replace(/^\|/, '').replace(/\|$/, '').split(/(?<!\\)\|/);
  return cells.slice(0, 100).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

function renderTable(lines) {
  const align = cellsOf(lines[1]).map((cell) => (cell.endsWith(':')
    ? cell.startsWith(':') ? 'center' : 'right' : null));
  const row = (line, tag) => make('tr', {}, cellsOf(line).map((text, i) => {
    const cell = make(tag, {class: align[i]});
    inline(cell, text);
    return cell;
  }));
  return make('div', {class: 'wide'}, make('table', {}, make('thead', {}, row(lines[0], 'th')),
    make('tbody', {}, lines.slice(2).map((line) => row(line, 'td')))));
}

function renderBlock(lines, depth) {
  const line = lines[0];
  if (fence.test(line)) return renderFence(lines);
  if (isShort(line) && isRule(line)) return make('hr');
  const title = isShort(line) ? heading.exec(line) : null;
  if (title) {
    const element = make(`h${title[1].length}`, {dir: 'auto'});
    inline(element, (title[2] ?? '').trimEnd().replace(/(?:^|\s)#+$/, '').trimEnd());
    return element;
  }
  if (isMath(line)) return make('pre', {class: 'math'}, visible(lines.join('\n')));
  if (depth < deepest && quote.test(line)) {
    const element = make('blockquote');
    renderInto(element, lines.map((each) => each.replace(quote, '')), depth + 1);
    return element;
  }
  if (depth < deepest && isShort(line) && item.test(line)) return renderList(lines, depth);
  if (isTable(lines, 0)) return renderTable(lines);
  const element = make('p', {dir: 'auto'});
  inline(element, lines.map((each) => each.trimStart()).join('\n'));
  return element;
}

function blocksOf(lines) {
  const blocks = [];
  for (let i = 0; i < lines.length;) {
    if (isBlank(lines[i])) {
      i++;
      continue;
    }
    const end = endOfBlock(lines, i);
    blocks.push(lines.slice(i, end));
    i = end;
  }
  return blocks;
}

function renderInto(parent, lines, depth) {
  parent.append(...blocksOf(lines).map((block) => renderBlock(block, depth)));
}

// A text that grows: only blocks that changed are made anew.
export class MarkdownView {
  constructor(element) {
    this.element = element;
    this.sources = [];
  }
  update(text) {
    const blocks = blocksOf(text.split('\n'));
    const children = this.element.children;
    blocks.forEach((lines, i) => {
      const source = lines.join('\n');
      if (this.sources[i] === source) return;
      this.sources[i] = source;
      const made = renderBlock(lines, 0);
      if (i < children.length) children[i].replaceWith(made);
      else this.element.append(made);
    });
    while (children.length > blocks.length) children[children.length - 1].remove();
    this.sources.length = blocks.length;
  }
}
