// The encoding of wire.py for JavaScript. Whatever is not plain data becomes opaque. This text is
// put in front of candidate.js and checker.js.
'use strict';
const fs = require('fs');
const vm = require('vm');

const MAX_DEPTH = 150;
const MAX_NODES = 2000000;
const MAX_LINE = 16 << 20;

function encodeNumber(value) {
  if (Number.isFinite(value) && !Object.is(value, -0)) return value;
  return {number: Object.is(value, -0) ? '-0' : String(value)};
}

function encodeObject(value, depth, count) {
  const prototype = Object.getPrototypeOf(value);
  if (Array.isArray(value)) {
    return Array.from(value, (item) => encode(item, depth + 1, count));
  }
  if (prototype === Object.prototype || prototype === null) {
    return {dict: Object.keys(value).map((key) => [key, encode(value[key], depth + 1, count)])};
  }
  return {opaque: String(prototype?.constructor?.name).slice(0, 80)};
}

function encode(value, depth = 0, count = {nodes: 0}) {
  if (depth > MAX_DEPTH || ++count.nodes > MAX_NODES) {
    throw new RangeError('value too deep or too large');
  }
  switch (typeof value) {
    case 'boolean':
    case 'string':
      return value;
    case 'number':
      return encodeNumber(value);
    case 'bigint':
      return {bigint: (value < 0n ? '-' : '') + '0x' + (value < 0n ? -value : value).toString(16)};
    case 'object':
      return value === null ? null : encodeObject(value, depth, count);
    default:
      return {opaque: typeof value};
  }
}

function decodeTagged(tag, content) {
  switch (tag) {
    case 'dict':
      // Defined rather than assigned, so that "__proto__" is a key like others.
      return content.reduce((object, [key, value]) => Object.defineProperty(object, key, {
        value: decode(value), writable: true, enumerable: true, configurable: true,
      }), {});
    case 'number':
      return Number(content);
    case 'int':
      return Number(content);
    case 'bigint':
      return content[0] === '-' ? -BigInt(content.slice(1)) : BigInt(content);
    case 'opaque':
      if (content === 'undefined') return undefined;
      throw new TypeError('the result is a ' + content);
    default:
      throw new TypeError('no value');
  }
}

function decode(value) {
  if (Array.isArray(value)) return value.map(decode);
  if (value === null || typeof value !== 'object') return value;
  const tags = Object.keys(value);
  if (tags.length !== 1) throw new TypeError('no value');
  return decodeTagged(tags[0], value[tags[0]]);
}

class Line {
  constructor(fd) {
    this.fd = fd;
    this.chunks = [];
    this.buffer = Buffer.alloc(1 << 16);
  }

  send(message) {
    const bytes = Buffer.from(JSON.stringify(message) + '\n');
    for (let at = 0; at < bytes.length;) at += fs.writeSync(this.fd, bytes, at);
  }

  // The next message; null at the end. Messages do not overlap: each side waits for its turn.
  receive() {
    for (let total = 0; total <= MAX_LINE;) {
      const n = fs.readSync(this.fd, this.buffer);
      if (n === 0) return null;
      total += n;
      this.chunks.push(Buffer.from(this.buffer.subarray(0, n)));
      if (this.buffer[n - 1] === 10) {
        const text = Buffer.concat(this.chunks).toString();
        this.chunks = [];
        return JSON.parse(text);
      }
    }
    throw new RangeError('a result is too large');
  }
}
