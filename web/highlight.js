// Colours for code: one pass of one regular expression per language, which finds comments, strings,
// numbers and words; a word is then a keyword, a call, or neither. Good enough to read by, and linear
// in the length of the text.

const words = (text) => new Set(text.split(' '));
const cLike = {line: '//', block: ['/*', '*/'], quotes: '"\''};
const hash = {line: '#', quotes: '"\''};

const javascript = {...cLike, quotes: '"\'`', words: words('async await break case catch class const ' +
  'continue debugger default delete do else enum export extends false finally for from function get ' +
  'if implements import in instanceof interface let new null of private protected public readonly ' +
  'return set static super switch this throw true try type typeof undefined var void while yield')};
const c = {...cLike, directive: true, words: words('alignas auto bool break case catch char class ' +
  'const constexpr continue default delete do double else enum explicit extern false float for ' +
  'friend goto if inline int long namespace new noexcept nullptr NULL operator override private ' +
  'protected public register restrict return short signed sizeof static struct switch template this ' +
  'throw true try typedef typename union unsigned using virtual void volatile while size_t ssize_t ' +
  'int8_t int16_t int32_t int64_t uint8_t uint16_t uint32_t uint64_t')};
const java = {...cLike, words: words('abstract as base boolean break byte case catch char class const ' +
  'continue data decimal default do double else enum extends false final finally float for foreach ' +
  'fun if implements import in instanceof int interface internal is long namespace new null object ' +
  'override package private protected public readonly record return sealed short static string super ' +
  'switch synchronized this throw throws true try using val var virtual void volatile when while')};
const python = {...hash, triple: true, words: words('and as assert async await break case class ' +
  'continue def del elif else except False finally for from global if import in is lambda match None ' +
  'nonlocal not or pass raise return self True try while with yield')};

const languages = {
  c, cpp: c, java, javascript, python,
  bash: {...hash, words: words('case do done echo elif else esac exit export fi for function if in ' +
    'local read return set shift then trap unset until while')},
  css: {block: ['/*', '*/'], quotes: '"\'', words: words('important media supports import')},
  go: {...cLike, quotes: '"\'`', words: words('any bool break byte case chan const continue default ' +
    'defer else error fallthrough false float64 for func go goto if import int interface iota make ' +
    'map nil package range return rune select string struct switch true type uint8 var')},
  json: {quotes: '"', words: words('true false null')},
  lua: {line: '--', quotes: '"\'', words: words('and break do else elseif end false for function if ' +
    'in local nil not or repeat return then true until while')},
  markup: {block: ['<!--', '-->'], quotes: '"', tags: true, words: words('')},
  php: {...cLike, words: words('abstract array as break case catch class const continue default do ' +
    'echo else elseif extends false final finally fn for foreach function if implements interface ' +
    'match namespace new null private protected public return static switch throw true try use while')},
  ruby: {...hash, words: words('alias and begin break case class def do else elsif end ensure false ' +
    'for if in module next nil not or redo rescue retry return self super then true unless until when ' +
    'while yield')},
  rust: {...cLike, quotes: '"', words: words('as async await bool break char const continue crate dyn ' +
    'else enum extern f32 f64 false fn for i32 i64 if impl in let loop match mod move mut pub ref ' +
    'return self Self static str String struct super trait true type u8 u32 u64 unsafe use usize ' +
    'where while')},
  sql: {line: '--', block: ['/*', '*/'], quotes: '\'"', anyCase: true, words: words('add all alter ' +
    'and as asc between by case create delete desc distinct drop else end exists from group having ' +
    'if in index inner insert into is join key left like limit not null on or order outer primary ' +
    'references right select set table then union unique update values view when where with')},
  yaml: {...hash, words: words('true false null yes no')},
};
const aliases = {
  'c++': 'cpp', cc: 'cpp', h: 'c', hpp: 'cpp', cs: 'java', csharp: 'java', kotlin: 'java', kt: 'java',
  swift: 'java', scala: 'java', js: 'javascript', jsx: 'javascript', mjs: 'javascript',
  ts: 'javascript', tsx: 'javascript', typescript: 'javascript', py: 'python', py3: 'python',
  sh: 'bash', shell: 'bash', zsh: 'bash', console: 'bash', golang: 'go', jsonc: 'json', html: 'markup',
  xml: 'markup', svg: 'markup', rb: 'ruby', rs: 'rust', yml: 'yaml', toml: 'yaml', ini: 'yaml',
  make: 'bash', makefile: 'bash', dockerfile: 'bash', scss: 'css',
};

const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');

function patternOf(language) {
  const parts = [];
  if (language.block) {
    const [open, close] = language.block.map(escaped);
    parts.push(`(?<comment1>${open}[^]*?(?:${close}|$(?![^])))`);
  }
  if (language.line) {
    const mark = language.line === '#' ? '(?<![^\\s])#' : escaped(language.line);
    parts.push(`(?<comment2>${mark}[^\\n]*)`);
  }
  if (language.directive) parts.push('(?<meta>^[ \\t]*#[^\\n]*)');
  if (language.tags) parts.push('(?<tag></?[\\w:-]+|/?>)');
  if (language.triple) parts.push('(?<string1>"""[^]*?(?:"""|$(?![^]))|\'\'\'[^]*?(?:\'\'\'|$(?![^])))');
  const quoted = [...language.quotes].map((quote) => {
    const inner = quote === '`' ? `[^${quote}\\\\]` : `[^${quote}\\\\\\n]`;
    return `${quote}(?:${inner}|\\\\[^])*${quote}?`;
  });
  parts.push(`(?<string2>${quoted.join('|')})`);
  parts.push('(?<number>\\b(?:0[xXbB][\\da-fA-F_]+|\\d[\\d_]*(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)\\w*)');
  parts.push('(?<word>[\\p{L}_$@][\\p{L}\\p{N}_$]*)');
  return new RegExp(parts.join('|'), 'gmu');
}

function kindOf(language, groups, code, end) {
  if (groups.word === undefined) {
    const name = Object.keys(groups).find((key) => groups[key] !== undefined);
    return name.replace(/\d$/, '');
  }
  const word = language.anyCase ? groups.word.toLowerCase() : groups.word;
  if (language.words.has(word)) return 'keyword';
  return code[end] === '(' ? 'call' : '';
}

const longest = 60000;

// Appends CODE to ELEMENT, in spans of class "t-KIND" where LANGUAGE is one of those above.
export function highlight(element, code, name) {
  const key = name.toLowerCase();
  const language = Object.hasOwn(languages, key) ? languages[key]
    : Object.hasOwn(aliases, key) ? languages[aliases[key]] : null;
  if (!language || code.length > longest) {
    element.append(code);
    return;
  }
  language.pattern ??= patternOf(language);
  let from = 0;
  for (const match of code.matchAll(language.pattern)) {
    const kind = kindOf(language, match.groups, code, match.index + match[0].length);
    if (!kind) continue;
    if (match.index > from) element.append(code.slice(from, match.index));
    const span = document.createElement('span');
    span.className = `t-${kind}`;
    span.textContent = match[0];
    element.append(span);
    from = match.index + match[0].length;
  }
  element.append(code.slice(from));
}
