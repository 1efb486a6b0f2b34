// Small parts that every page uses.
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import type { Meta, Problem } from './api';
import { duration } from './format';
import { holes, lag, onlyBefore, type PanelState } from './panel';
import { clock, date } from './time';

/** as of 14:32:07 UTC · complete to 14:31 · lag 1.2 s */
export function Chip({ meta, at, tz, state }: { meta: Meta | null; at: number; tz: string; state: PanelState }) {
  if (!meta) return null;
  const completeTo = meta.complete_to ? Date.parse(meta.complete_to) : null;
  const behind = lag(meta, at);
  const far = completeTo !== null && date(completeTo, tz) !== date(at, tz);
  const tone = state === 'disconnected' || state === 'stale' || state === 'error' ? 'chip bad' : 'chip';
  return (
    <span class={tone} title={completeTo === null ? '' : `complete to ${new Date(completeTo).toISOString()}`}>
      as of {clock(at, tz)} {tz}
      {completeTo === null ? (
        ' · nothing complete yet'
      ) : (
        <>
          {' · complete to '}
          {far ? `${date(completeTo, tz)} ` : ''}
          {clock(completeTo, tz, behind !== null && behind < 60_000)}
          {' · lag '}
          {duration(behind ?? 0)}
        </>
      )}
    </span>
  );
}

/** what a panel says besides, or instead of, its numbers */
export function StateNote({ state, problem, meta, at, tz }: { state: PanelState; problem: Problem | null; meta: Meta | null; at: number; tz: string }) {
  const shown = `The numbers are those of ${clock(at, tz)} ${tz}.`;
  switch (state) {
    case 'partial':
      return <p class={onlyBefore(meta?.coverage) ? 'note' : 'note warn'}>{holes(meta?.coverage)}</p>;
    case 'zero':
      return <p class="note">Zero: events were looked at, and none of them counts here.</p>;
    case 'stale':
      return (
        <p class="note bad" role="alert">
          {problem ? `${problem.detail} ${shown}` : `Events arrive late: complete to ${meta?.complete_to ? clock(Date.parse(meta.complete_to), tz) : '–'} ${tz}.`}
        </p>
      );
    case 'disconnected':
      return (
        <p class="note bad" role="alert">
          The connection is lost and is being tried again. {shown}
        </p>
      );
    default:
      return null;
  }
}

/** instead of numbers: loading, empty, never, error; null when there are numbers */
export function Instead({ state, problem, hint }: { state: PanelState; problem: Problem | null; hint?: ComponentChildren }) {
  switch (state) {
    case 'loading':
      return (
        <div class="instead" aria-busy="true">
          <span class="pulse" />
          Loading…
        </div>
      );
    case 'empty':
      return <div class="instead">No events match this range and these filters.{hint}</div>;
    case 'never':
      return <div class="instead"><span>No event of this stream has ever arrived. See <a href="/">Today</a> for a line to send one.</span></div>;
    case 'error':
      return (
        <div class="instead bad" role="alert">
          <strong>{problem?.detail ?? 'Something failed.'}</strong>
          {problem && problem.status > 0 ? (
            <span class="muted">
              {problem.status} {problem.code}
              {problem.requestId ? ` · request ${problem.requestId}` : ''}
            </span>
          ) : null}
        </div>
      );
    default:
      return null;
  }
}

/** things about the address that were not understood */
export function Notices({ list }: { list: string[] }) {
  const [closed, close] = useState('');
  const key = list.join('\n');
  if (list.length === 0 || closed === key) return null;
  return (
    <div class="notice" role="status">
      <ul>
        {list.map((n) => (
          <li key={n}>{n}</li>
        ))}
      </ul>
      <button class="quiet" onClick={() => close(key)} aria-label="close the notice">
        ✕
      </button>
    </div>
  );
}

/** one of a few, side by side */
export function Segmented<T extends string>(props: { label: string; options: { value: T; label: string; title?: string }[]; value: T | null; onPick: (v: T) => void }) {
  return (
    <div class="segmented" role="group" aria-label={props.label}>
      {props.options.map((o) => (
        <button key={o.value} aria-pressed={o.value === props.value} title={o.title} onClick={() => props.onPick(o.value)}>
          {o.label}
        </button>
      ))}
    </div>
  );
}

/** copies text; also where the page is not served over https, and the clipboard API is missing */
export async function copyText(text: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.className = 'offscreen';
    document.body.append(area);
    area.select();
    const ok = document.execCommand('copy');
    area.remove();
    return ok;
  }
}

/** a button that says for a moment that it worked */
export function CopyButton({ label, text }: { label: string; text: () => string | Promise<string> }) {
  const [said, say] = useState('');
  const click = async () => {
    let ok = false;
    try {
      ok = await copyText(await text());
    } catch {
      ok = false;
    }
    say(ok ? 'Copied' : 'Failed');
    setTimeout(() => say(''), 1500);
  };
  return (
    <button class="quiet" onClick={() => void click()} aria-live="polite">
      {said || label}
    </button>
  );
}
