// Runs inside the checker's box: runs the test file with a stand-in that calls the answer's
// function over descriptor 0, and writes the verdict to descriptor 3.
class Ended extends Error {
  constructor(grade, detail) {
    super(detail);
    this.grade = grade;
  }
}

class Channel extends Line {
  constructor(fd) {
    super(fd);
    this.calls = 0;
    this.end = null; // the first reason why no call is possible, whatever the tests make of it
  }

  stop(grade, detail) {
    this.end ??= new Ended(grade, detail);
    throw this.end;
  }

  hear() {
    let message = null;
    try {
      message = this.receive();
    } catch (error) {
      if (error.code === 'EAGAIN') this.stop('times out', 'no result within the time limit');
      if (error.code !== 'ECONNRESET') this.stop('fails', 'the program spoke out of turn');
    }
    if (message === null) this.stop('fails', 'the program ended before it returned a result');
    return message;
  }

  waitReady() {
    const hello = this.hear();
    if (hello.syntax !== undefined) this.stop('not compiled', text(hello.syntax));
    if (hello.missing !== undefined) this.stop('no entry', text(hello.missing) + ' is not defined');
    if (hello.raised) this.stop('fails', 'loading raised ' + text(hello.message));
    if (!hello.ready) this.stop('fails', 'the program spoke out of turn');
  }

  call(args) {
    if (this.end) throw this.end;
    const id = ++this.calls;
    try {
      this.send({id, args: encode(args)});
    } catch {
      this.stop('fails', 'the program ended before it was called');
    }
    const reply = this.hear();
    if (reply.id !== id) this.stop('fails', 'the program spoke out of turn');
    if (reply.raised !== undefined) throw new Error(text(reply.message));
    return decode(reply.value);
  }
}

function text(value) {
  return String(value).slice(0, 200);
}

// The tests see the helpers of the reference, and the stand-in in place of the function.
function runTests(job, channel) {
  globalThis.require = require;
  console.assert = (right, ...message) => {
    if (!right) throw new Error(['assertion failed', ...message].map(String).join(' '));
  };
  vm.runInThisContext(job.reference, {filename: 'reference.js'});
  const source = `(function (${job.entry}) {${job.test}\n})`;
  const tests = vm.runInThisContext(source, {filename: 'test.js'});
  channel.waitReady();
  tests((...args) => channel.call(args));
}

// The statement of the test file at which ERROR came up: its line and those its brackets need.
function failedLine(job, error) {
  const place = /test\.js:(\d+)/.exec(String(error.stack));
  const lines = place ? job.test.split('\n').slice(place[1] - 1) : [];
  let statement = '';
  do {
    statement += (lines.shift() ?? '') + ' ';
  } while (lines.length > 0 && statement.split('(').length > statement.split(')').length);
  return (statement.replace(/\s+/g, ' ').trim() + ': ' + error.message).slice(0, 500);
}

function judge(job) {
  const channel = new Channel(0);
  let grade = 'passes';
  let detail = '';
  try {
    runTests(job, channel);
    if (channel.calls === 0) throw new Error('the task is broken: its tests call nothing');
  } catch (error) {
    grade = 'fails';
    detail = failedLine(job, error);
  }
  if (channel.end) {
    grade = channel.end.grade;
    detail = channel.end.message;
  }
  const passed = Number(grade === 'passes');
  return {nonce: job.nonce, base: grade, plus: grade, tests: 1, passed, detail};
}

const job = JSON.parse(fs.readFileSync('job.json', 'utf8'));
fs.unlinkSync('job.json');
fs.writeSync(3, JSON.stringify(judge(job)));
process.exit(0);
