'use strict';
(() => {
  const live = document.getElementById('live');
  const pause = 8000;
  // the figures anew, with what was folded open left so
  const refresh = async () => {
    try {
      const reply = document.hidden ? null : await fetch('/owner/live', { signal: AbortSignal.timeout(20000) });
      if (reply && reply.status === 401) { location.reload(); return; }
      if (reply && reply.ok) {
        const text = await reply.text();
        if (text !== refresh.last) {
          const open = [...live.querySelectorAll('details[open]')].map(each => each.id);
          live.innerHTML = text;
          for (const id of open) { const found = document.getElementById(id); if (found) found.open = true; }
          refresh.last = text;
        }
      }
    } catch { /* the next round may fare better */ }
    setTimeout(refresh, pause);
  };
  setTimeout(refresh, pause);
  for (const button of document.querySelectorAll('[data-copy]')) {
    button.addEventListener('click', async () => {
      const link = button.parentElement.querySelector('input[readonly]');
      link.select();
      // a page that is not served by https has no clipboard of its own
      try { await navigator.clipboard.writeText(link.value); } catch { document.execCommand('copy'); }
      button.textContent = 'Copied';
      setTimeout(() => { button.textContent = 'Copy'; }, 1500);
    });
  }
})();
