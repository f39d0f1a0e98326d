// The saved chats: finding, opening, naming, throwing away, and taking them elsewhere.
import {$, download, icon, iconButton, make, pickFiles, toast} from './dom.js';
import {currentChat, openChat, stop} from './chat.js';
import {chats, dropChat, exportChats, findChats, importChats, keepChat, newChat, readChats, titleOf}
  from './store.js';
import {visible} from './markdown.js';

const narrow = matchMedia('(max-width: 50rem)');

export function toggleSidebar(shown) {
  document.body.classList.toggle(narrow.matches ? 'with-sidebar' : 'without-sidebar',
    narrow.matches ? shown : shown === undefined ? undefined : !shown);
}

export function startChat() {
  openChat(newChat(currentChat()));
  if (narrow.matches) toggleSidebar(false);
  $('#prompt').focus();
}

function rename(entry, chat) {
  const input = make('input', {'aria-label': 'Name of the chat', maxlength: 200});
  let done = false;
  const finish = (keeps) => {
    if (done) return;
    done = true;
    if (keeps) {
      chat.title = input.value.trim();
      keepChat(chat);
    }
    showChats();
  };
  input.value = titleOf(chat);
  input.addEventListener('blur', () => finish(true));
  input.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' && event.key !== 'Escape') return;
    event.stopPropagation();
    finish(event.key === 'Enter');
  });
  entry.replaceChildren(input);
  input.focus();
  input.select();
}

function remove(chat) {
  dropChat(chat);
  stop(chat);
  if (chat === currentChat()) startChat();
  showChats();
  toast(`Deleted “${visible(titleOf(chat))}”.`, 'Undo', () => {
    keepChat(chat);
    showChats();
  });
}

function entryOf(chat) {
  const entry = make('li', {class: chat === currentChat() ? 'here' : null});
  entry.append(make('button', {type: 'button', class: 'open', dir: 'auto', onclick: () => {
    openChat(chat);
    if (narrow.matches) toggleSidebar(false);
  }, ondblclick: () => rename(entry, chat)}, visible(titleOf(chat))),
  iconButton('edit', 'Rename', () => rename(entry, chat)),
  iconButton('down', 'Export', () => download('octet-chat.json', exportChats([chat]))),
  iconButton('trash', 'Delete', () => remove(chat)));
  return entry;
}

export function showChats() {
  if ($('#chats input')) return; // being renamed
  const found = findChats($('#find').value);
  $('#chats').replaceChildren(...found.map(entryOf));
  if (found.length === 0) $('#chats').append(make('li', {class: 'none'}, chats.size > 0 ? 'None found.'
    : 'Chats are kept here, in this browser.'));
}

async function importFile() {
  for (const file of await pickFiles('.json,application/json', true)) {
    try {
      const n = importChats(await file.text()), here = chats.get(currentChat().id);
      if (here && here !== currentChat()) openChat(here);
      toast(n === 1 ? 'One chat imported.' : `${n} chats imported.`);
    } catch (error) {
      toast(`${file.name}: ${error.message}`);
    }
  }
  showChats();
}

export function setUpSidebar() {
  $('#menu').append(iconButton('menu', 'Saved chats', () => toggleSidebar(), {id: 'menu-button'}));
  $('#new-chat').append(icon('plus'), 'New chat');
  $('#new-chat').addEventListener('click', startChat);
  $('#find').addEventListener('input', showChats);
  $('#exchange').append(
    make('button', {type: 'button', id: 'export', onclick: () => download('octet-chats.json',
      exportChats(findChats('')))}, icon('down'), 'Export'),
    make('button', {type: 'button', id: 'import', onclick: importFile}, icon('up'), 'Import'));
  $('#talk').addEventListener('pointerdown', () => {
    if (narrow.matches) toggleSidebar(false);
  });
  // Another window of this page may have kept or dropped chats.
  addEventListener('storage', () => {
    const here = currentChat();
    readChats();
    if (chats.has(here.id)) chats.set(here.id, here);
    showChats();
  });
}
