// What the report's page gains with scripts: the theme, the word diff of two answers, and blind
// votes. Text is only ever set as text, never as markup.
'use strict';
(function () {
  const root = document.documentElement, body = document.body;
  const voteKey = 'octet-votes-' + body.dataset.run;

  function make(tag, text, className) {
    const element = document.createElement(tag);
    if (text) element.textContent = text;
    if (className) element.className = className;
    return element;
  }
  function button(text, act) {
    const element = make('button', text);
    element.type = 'button';
    element.addEventListener('click', () => act(element));
    return element;
  }
  // Storage may be forbidden for files; the page then forgets.
  function load(key) {
    try { return localStorage.getItem(key); } catch (error) { return null; }
  }
  function save(key, value) {
    try { localStorage.setItem(key, value); } catch (error) { /* forgotten */ }
  }

  // ---- Theme ----
  const dark = matchMedia('(prefers-color-scheme: dark)');
  function isDark() {
    return root.dataset.theme ? root.dataset.theme === 'dark' : dark.matches;
  }
  const saved = load('octet-theme');
  if (saved === 'dark' || saved === 'light') root.dataset.theme = saved;
  const themeButton = button('', () => {
    root.dataset.theme = isDark() ? 'light' : 'dark';
    save('octet-theme', root.dataset.theme);
    nameTheme();
  });
  function nameTheme() { themeButton.textContent = isDark() ? 'Light' : 'Dark'; }
  dark.addEventListener('change', nameTheme);
  nameTheme();

  // ---- Word diff ----
  const maxWords = 3000;
  function words(text) { return text.match(/\s+|\w+|[^\s\w]/g) || []; }

  // Longest common subsequence: [kind, text] with kind 0 both, -1 only in a, 1 only in b.
  function diff(a, b) {
    let start = 0, endA = a.length, endB = b.length;
    while (start < endA && start < endB && a[start] === b[start]) start++;
    while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) { endA--; endB--; }
    const n = endA - start, m = endB - start, width = m + 1;
    const table = new Uint16Array((n + 1) * width);
    for (let i = n - 1; i >= 0; i--) {
      for (let j = m - 1; j >= 0; j--) {
        table[i * width + j] = a[start + i] === b[start + j]
          ? table[(i + 1) * width + j + 1] + 1
          : Math.max(table[(i + 1) * width + j], table[i * width + j + 1]);
      }
    }
    const out = [[0, a.slice(0, start).join('')]];
    let i = 0, j = 0;
    while (i < n || j < m) {
      if (i < n && j < m && a[start + i] === b[start + j]) {
        out.push([0, a[start + i]]); i++; j++;
      } else if (j >= m || (i < n && table[(i + 1) * width + j] >= table[i * width + j + 1])) {
        out.push([-1, a[start + i]]); i++;
      } else {
        out.push([1, b[start + j]]); j++;
      }
    }
    out.push([0, a.slice(endA).join('')]);
    return out;
  }

  function showDiff(box, left, right) {
    const a = words(left.textContent), b = words(right.textContent);
    const cut = a.length > maxWords || b.length > maxWords;
    const pre = make('pre', '', 'diff');
    let last = null, kind = 2;
    for (const part of diff(a.slice(0, maxWords), b.slice(0, maxWords))) {
      if (!part[1]) continue;
      if (part[0] !== kind) {
        kind = part[0];
        last = make(kind < 0 ? 's' : kind > 0 ? 'ins' : 'span');
        pre.append(last);
      }
      last.append(part[1]);
    }
    if (cut) pre.append(make('span', '\n(the first ' + maxWords + ' words)', 'pr'));
    box.replaceChildren(pre);
  }

  function chooser(articles, chosen) {
    const select = make('select');
    articles.forEach((article, i) => {
      const option = make('option', article.querySelector('.nm').textContent);
      option.value = i;
      option.selected = i === chosen;
      select.append(option);
    });
    return select;
  }

  function addDiff(inner, articles) {
    const bar = make('div', '', 'diffbar'), box = make('div');
    const left = chooser(articles, 0), right = chooser(articles, 1);
    bar.append('Words that differ: ', left, ' against ', right, button('Show', () => {
      const a = articles[left.value].querySelector('.ans');
      const b = articles[right.value].querySelector('.ans');
      if (a && b) showDiff(box, a, b);
    }));
    inner.append(bar, box);
  }

  // ---- Blind votes ----
  const votes = Object.create(null); // by task; no name of a task can mean anything else
  try { Object.assign(votes, JSON.parse(load(voteKey))); } catch (error) { /* none yet */ }

  // An order of the answers that depends on the task alone, so that it is the same at each visit.
  function shuffled(articles, id) {
    let state = 2166136261;
    for (const c of body.dataset.run + id) {
      state = Math.imul(state ^ c.codePointAt(0), 16777619) >>> 0;
    }
    const order = articles.slice();
    for (let i = order.length - 1; i > 0; i--) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const k = Math.floor(state / 4294967296 * (i + 1));
      [order[i], order[k]] = [order[k], order[i]];
    }
    return order;
  }

  function nameAnswers(task) {
    const hide = body.classList.contains('blind') && !task.element.classList.contains('shown');
    task.order.forEach((article, i) => {
      article.style.order = hide ? i : '';
      article.querySelector('.nm').textContent =
        hide ? 'Answer ' + String.fromCharCode(65 + i) : article.dataset.name;
    });
  }

  function addVotes(task, inner) {
    const bar = make('div', '', 'votes');
    const choices = task.order.map((article, i) => ['' + String.fromCharCode(65 + i),
      article.dataset.name]).concat([['tie', 'tie'], ['all bad', 'all bad']]);
    const mark = () => bar.querySelectorAll('button').forEach(
      (one) => one.setAttribute('aria-pressed', String(one.dataset.vote === votes[task.id])));
    bar.append('Best answer: ');
    for (const choice of choices) {
      const one = button(choice[0], () => {
        votes[task.id] = choice[1];
        save(voteKey, JSON.stringify(votes));
        task.element.classList.add('shown');
        nameAnswers(task);
        mark();
        countVotes();
      });
      one.dataset.vote = choice[1];
      bar.append(one);
    }
    mark();
    inner.append(bar);
  }

  const tasks = [];
  document.querySelectorAll('.task').forEach((element) => {
    const articles = Array.from(element.querySelectorAll('article'));
    const id = element.querySelector('summary b').textContent;
    articles.forEach((one) => { one.dataset.name = one.querySelector('.nm').textContent; });
    tasks.push({ element, articles, id, order: shuffled(articles, id), ready: false });
  });

  // The tools of a task are made when it is opened, which keeps the page quick.
  function prepare(task) {
    if (task.ready || task.articles.length < 2) return;
    task.ready = true;
    const inner = task.element.querySelector(':scope > div');
    addVotes(task, inner);
    addDiff(inner, task.articles);
  }
  for (const task of tasks) {
    task.element.addEventListener('toggle', () => {
      if (task.element.open) prepare(task);
    });
  }

  const blindButton = button('Blind', () => {
    const on = body.classList.toggle('blind');
    blindButton.setAttribute('aria-pressed', String(on));
    for (const task of tasks) {
      task.element.classList.remove('shown');
      nameAnswers(task);
    }
    if (on) document.getElementById('tasks').scrollIntoView();
  });
  blindButton.title = 'hide names and verdicts, and vote for answers';
  blindButton.setAttribute('aria-pressed', 'false');
  const exportButton = button('', () => {
    const rows = Object.keys(votes).map((task) => ({ task, best: votes[task] }));
    const text = JSON.stringify({ run: body.dataset.run, votes: rows }, null, 1);
    const link = make('a');
    link.href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
    link.download = 'votes.json';
    link.click();
    URL.revokeObjectURL(link.href);
  });
  function countVotes() {
    const n = Object.keys(votes).length;
    exportButton.hidden = n === 0;
    exportButton.textContent = n === 1 ? 'Save 1 vote' : 'Save ' + n + ' votes';
  }
  countVotes();
  const tools = document.getElementById('tools');
  tools.append(exportButton);
  if (tasks.some((task) => task.articles.length > 1)) tools.append(blindButton);
  tools.append(themeButton);

  // ---- Links into closed tasks ----
  function openTarget() {
    const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
    const task = target && target.closest('.task');
    if (!task) return;
    task.open = true;
    task.scrollIntoView();
  }
  addEventListener('hashchange', openTarget);
  openTarget();
}());
