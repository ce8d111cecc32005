'use strict';
// What was said and is not yet in the store. It is kept by the browser until the server has it, so that a closed tab, a server that is
// down and a reply that never arrives lose nothing; each write has a key, so that one sent twice is one.
class Queue {
  constructor(name) { this.name = name; this.here = []; }
  read() {
    try { return JSON.parse(localStorage.getItem(this.name)) || []; } catch { return this.here; }
  }
  keep(entries) {
    this.here = entries;
    try { localStorage.setItem(this.name, JSON.stringify(entries)); } catch { /* then they last as long as the page is open */ }
  }
  add(entry) { this.keep([...this.read(), entry]); }
  drop(key) { this.keep(this.read().filter(each => each.key !== key)); }
}

const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');

const post = (url, body) => fetch(url, {
  method: 'POST',
  headers: { 'content-type': 'application/json', 'x-csrf': document.querySelector('meta[name=csrf]').content },
  body: JSON.stringify(body),
  signal: AbortSignal.timeout(10000),
});

// pages without an item: Enter goes on
const onward = document.querySelector('[data-enter]');
if (onward) document.addEventListener('keydown', event => {
  if (event.key === 'Enter' && !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat) { event.preventDefault(); onward.click(); }
});

const told = document.getElementById('ask');
if (told) (() => {
  const data = JSON.parse(told.textContent);
  const at = id => document.getElementById(id);
  const queue = new Queue(`tuneladder ${data.labelling} ${data.person}`);
  const draftName = `tuneladder ${data.labelling} ${data.person} ${data.ask}`;
  const why = { ...data.reasons };
  const slots = [];   // one for each thing to say: a question, or of a ranking each answer
  const order = [];   // of the ranking, what was placed here and is not whole yet
  let active = 0, sending = false, wait = 1000, timer = 0, then = null, undoKey = '', stopped = false;

  for (const question of data.questions) {
    const rank = question.asks === 'rank';
    if (rank) question.places = { ...question.said };
    for (const letter of rank ? data.letters : [question.letter]) slots.push({ question, letter, rank });
  }
  const saidOf = slot => {
    if (!slot.rank) return slot.question.said;
    const place = slot.question.places[slot.letter];
    return place === undefined ? null : slot.question.options.findIndex(option => option.place === place);
  };
  const isOpen = slot => saidOf(slot) === null;
  const lacksReason = slot => data.wanted.includes(slot.question.criterion) && !(why[slot.question.criterion] || '').trim();

  // ---- keeping ----

  const draft = () => {
    const places = Object.fromEntries(data.questions.filter(each => each.places && each.said === null).map(each => [each.criterion, each.places]));
    try {
      if (Object.keys(places).length) localStorage.setItem(draftName, JSON.stringify(places)); else localStorage.removeItem(draftName);
    } catch { /* a ranking that is not whole is soon said again */ }
  };
  const send = question => {
    queue.add({
      key: newKey(), ask: data.ask, rubric: data.rubric, criterion: question.criterion, letter: question.letter,
      said: question.said, why: why[question.criterion] || '',
    });
    flush();
  };
  const trouble = (said, final = false) => {
    at('trouble').hidden = !said;
    at('trouble').textContent = said;
    stopped = final;
  };
  async function flush() {
    clearTimeout(timer);
    if (sending || stopped) return;
    sending = true;
    show();
    while (queue.read().length) {
      const entry = queue.read()[0];
      let reply = null, error = '';
      try {
        reply = await post('/write', entry);
        if (!reply.ok) error = (await reply.json()).error || '';
      } catch { /* no answer is an answer too */ }
      if (reply && reply.ok) { queue.drop(entry.key); wait = 1000; trouble(''); show(); continue; }
      if (reply && [400, 404, 409, 413, 422].includes(reply.status)) {
        queue.drop(entry.key);
        trouble(`An answer was not taken: ${error}. Load the page again to see what is kept.`);
        continue;
      }
      if (reply && [401, 403].includes(reply.status)) {
        trouble(`${error}. What you said is kept in this browser and sent when you are back.`, true);
        break;
      }
      trouble(`Not saved yet: ${reply && reply.status === 429 ? 'that was very fast' : 'the store does not answer'}. What you said is kept here, and sent again in ${Math.ceil(wait / 1000)} s.`);
      timer = setTimeout(flush, wait);
      wait = Math.min(wait * 2, 15000);
      break;
    }
    sending = false;
    show();
    if (then && !queue.read().length) { const act = then; then = null; act(); }
  }

  const whenKept = act => { then = act; flush(); };

  // ---- saying ----

  const say = choice => {
    const slot = slots[active];
    if (!slot || choice < 0 || choice >= slot.question.options.length) return;
    if (slot.rank) {
      slot.question.places[slot.letter] = slot.question.options[choice].place;
      order.push(slot);
      if (data.letters.every(letter => slot.question.places[letter] !== undefined)) {
        slot.question.said = { ...slot.question.places };
        send(slot.question);
        order.length = 0;
      }
      draft();
    } else {
      slot.question.said = choice;
      send(slot.question);
    }
    const next = slots.findIndex((each, n) => n > active && isOpen(each));
    const first = slots.findIndex(isOpen);
    const bare = slots.findIndex(lacksReason);
    active = [next, first, bare].find(each => each >= 0) ?? active;
    show();
  };
  const sayReason = () => {
    const slot = slots[active], text = at('reason').value.trim();
    if (!slot || text === (why[slot.question.criterion] || '')) return;
    why[slot.question.criterion] = text;
    for (const question of data.questions) if (question.criterion === slot.question.criterion && question.said !== null) send(question);
    show();
  };
  const go = () => {
    sayReason();
    const open = slots.findIndex(isOpen);
    if (open >= 0) { active = open; show(); nudge(); return; }
    const bare = slots.findIndex(lacksReason);
    if (bare >= 0) { active = bare; show(); at('reason').focus(); nudge(); return; }
    whenKept(() => location.assign(data.after));
  };
  const nudge = () => {
    at('dock').classList.remove('nudge');
    void at('dock').offsetWidth;
    at('dock').classList.add('nudge');
  };
  const undo = () => {
    if (order.length) {
      const slot = order.pop();
      delete slot.question.places[slot.letter];
      active = slots.indexOf(slot);
      draft();
      show();
      return;
    }
    whenKept(takeBack);
  };
  const takeBack = async () => {
    undoKey = undoKey || newKey();   // the same one until it is known to have arrived
    try {
      const reply = await post('/undo', { key: undoKey });
      if (!reply.ok) throw new Error((await reply.json()).error);
      undoKey = '';
      const { n } = await reply.json();
      if (n === null) trouble('There is nothing to undo.'); else location.assign(`/work/${n}`);
    } catch { trouble('Not undone yet: the store does not answer. Press u again.'); }
  };

  // ---- showing ----

  const element = (name, text, kind = '') => {
    const made = document.createElement(name);
    made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };
  const chips = () => {
    for (const card of document.querySelectorAll('.answer')) {
      const letter = card.dataset.letter, held = card.querySelector('.chips');
      held.replaceChildren();
      card.classList.toggle('meant', Boolean(slots[active]) && slots[active].letter === letter);
      let chosen = false;
      for (const slot of slots) {
        const said = saidOf(slot);
        if (said === null) continue;
        const option = slot.question.options[said];
        if (slot.letter === letter) held.append(element('span', `${slot.question.criterion} ${option.word}`, 'chip'));
        else if (!slot.letter && option.word === letter) { held.append(element('span', slot.question.criterion, 'chip')); chosen = true; }
      }
      card.classList.toggle('chosen', chosen);
    }
  };
  function show() {
    const slot = slots[active];
    at('dock').hidden = false;
    at('dots').replaceChildren(...slots.map((each, n) => element('i', '', `${isOpen(each) ? '' : 'full'}${n === active ? ' on' : ''}`)));
    at('question').replaceChildren(element('span', slot.question.criterion), ...(slot.letter ? [element('b', slot.letter, 'letter')] : []));
    at('means').textContent = slot.question.means;
    const said = saidOf(slot);
    at('options').replaceChildren(...slot.question.options.map((option, n) => {
      const button = element('button', '', option.key === option.word ? 'option same' : 'option');
      button.type = 'button';
      button.setAttribute('aria-pressed', String(n === said));
      if (option.key) button.append(element('kbd', option.key));
      button.append(element('b', option.word));
      if (option.means) button.append(element('small', option.means));
      button.addEventListener('click', () => say(n));
      return button;
    }));
    at('options').classList.toggle('wordy', slot.question.options.some(option => option.means));
    const needed = data.wanted.includes(slot.question.criterion);
    at('reason').placeholder = needed ? 'your reason, in a few words: it is wanted here' : 'a reason, if you like';
    if (document.activeElement !== at('reason')) at('reason').value = why[slot.question.criterion] || '';
    const whole = !slots.some(isOpen) && !slots.some(lacksReason);
    at('next').classList.toggle('ready', whole);
    const left = queue.read().length;
    at('saved').textContent = !left ? 'saved' : sending ? 'saving' : 'not saved yet';
    at('saved').classList.toggle('waiting', left > 0);
    for (const each of document.querySelectorAll('.guide .criterion')) each.classList.toggle('on', each.dataset.criterion === slot.question.criterion);
    chips();
    follow();
  }
  // the answer that is asked about comes to where it can be read, above the dock
  let followed = active;
  function follow() {
    document.documentElement.style.setProperty('--dock', `${at('dock').offsetHeight}px`);
    if (followed === active) return;
    followed = active;
    const card = document.querySelector('.answer.meant');
    if (!card) return;
    const { top, bottom } = card.getBoundingClientRect();
    if (top < 0 || bottom > innerHeight - at('dock').offsetHeight) scrollBy(0, top - 14);
  }
  const move = by => { sayReason(); active = Math.max(0, Math.min(slots.length - 1, active + by)); show(); };

  const commands = {
    Enter: go, u: undo, '?': () => at('help').showModal(), r: () => at('reason').focus(),
    d: () => document.body.classList.toggle('unmarked'), b: () => { if (data.back) whenKept(() => location.assign(data.back)); },
    ArrowLeft: () => move(-1), ArrowUp: () => move(-1), ArrowRight: () => move(1), ArrowDown: () => move(1),
  };
  document.addEventListener('keydown', event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (at('help').open) { if (event.key === '?') at('help').close(); return; }
    if (event.target === at('reason')) {
      if (event.key === 'Enter' || event.key === 'Escape') { event.preventDefault(); at('reason').blur(); }
      return;
    }
    if (event.key === 'Enter' && event.repeat) return;
    // a button that was reached by Tab is pressed by Enter
    if (event.key === 'Enter' && event.target.closest('button, a, summary')) return;
    const choice = slots[active].question.options.findIndex(option => option.key && option.key === event.key);
    if (choice >= 0) { event.preventDefault(); say(choice); return; }
    const command = commands[event.key];
    if (command) { event.preventDefault(); command(); }
  });
  at('reason').addEventListener('blur', sayReason);
  at('next').addEventListener('click', go);
  at('undo').addEventListener('click', undo);
  at('ask-help').addEventListener('click', () => at('help').showModal());
  for (const card of document.querySelectorAll('.answer')) {
    card.querySelector('header').addEventListener('click', () => {
      const slot = slots[active], letter = card.dataset.letter;
      if (slot.question.asks === 'choose') say(slot.question.options.findIndex(option => option.word === letter));
      const own = slots.findIndex(each => each.letter === letter && each.question.criterion === slot.question.criterion);
      if (own >= 0) { active = own; show(); }
    });
  }

  // what was said before this page was opened, and has not arrived
  for (const entry of queue.read()) {
    const question = data.questions.find(each => entry.ask === data.ask && each.criterion === entry.criterion && each.letter === entry.letter);
    if (!question) continue;
    question.said = entry.said;
    if (question.places) question.places = { ...entry.said };
    if (entry.why) why[entry.criterion] = entry.why;
  }
  try {
    for (const [criterion, places] of Object.entries(JSON.parse(localStorage.getItem(draftName)) || {})) {
      for (const slot of slots) {
        if (slot.rank && slot.question.criterion === criterion && slot.question.said === null && places[slot.letter] !== undefined) {
          slot.question.places[slot.letter] = places[slot.letter];
          order.push(slot);
        }
      }
    }
  } catch { /* nothing was kept */ }
  active = Math.max(0, slots.findIndex(isOpen));
  addEventListener('online', () => { wait = 1000; flush(); });
  flush();
})();
