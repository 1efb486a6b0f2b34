// What a panel shows: exactly one of eight states, so that empty, broken and zero never look alike.
import type { Coverage, Meta, Problem } from './api';
import { isHole } from './series';

export type PanelState = 'loading' | 'empty' | 'zero' | 'error' | 'partial' | 'stale' | 'disconnected' | 'never' | 'ok';

export interface Facts {
  loaded: boolean; // an answer is there
  problem: Problem | null; // of the newest request
  meta: Meta | null;
  rows: number;
  allZero: boolean;
  live: boolean; // the panel is meant to move
  lost: boolean; // the event stream is
  at: number; // server time of the answer
}

/** an answer this far behind is called stale even when the server answers */
export const staleLag = 120_000;

export function panelState(f: Facts): PanelState {
  if (!f.loaded) return f.problem ? 'error' : 'loading';
  if (f.problem) return 'stale';
  if (neverHadData(f.meta, f.rows === 0 || f.allZero)) return 'never';
  if (f.rows === 0) return 'empty';
  if (f.live && f.lost) return 'disconnected';
  if (f.live && (lag(f.meta, f.at) ?? 0) > staleLag) return 'stale';
  if ((f.meta?.coverage ?? []).some(isHole)) return 'partial';
  return f.allZero ? 'zero' : 'ok';
}

/** earliest is null when no bucket exists at all: then also the answer's zeros and gaps say nothing */
function neverHadData(meta: Meta | null, nothing: boolean): boolean {
  if (!meta) return false;
  return meta.earliest === null || (nothing && meta.earliest === undefined && !meta.complete_to);
}

/** how far the answer is behind the moment it was given, milliseconds; null when nothing is complete yet */
export function lag(meta: Meta | null, at: number): number | null {
  if (!meta?.complete_to) return null;
  return Math.max(0, at - Date.parse(meta.complete_to));
}

/** the holes of a range, in words */
export function holes(coverage: Coverage[] | undefined): string {
  const list = (coverage ?? []).filter(isHole);
  if (list.length === 0) return '';
  const what = list.some((c) => c.source === 'backfilling') ? 'still being filled in' : 'missing';
  const reason = list.find((c) => c.reason)?.reason;
  return `${list.length === 1 ? 'One part' : `${list.length} parts`} of the range ${list.length === 1 ? 'is' : 'are'} ${what}` + (reason ? `: ${reason}.` : '.');
}

/** the server's reason for a hole that is none of anybody's fault */
export const beforeData = 'before the first event';

/** whether nothing is wrong: the range merely begins before the data does */
export function onlyBefore(coverage: Coverage[] | undefined): boolean {
  return (coverage ?? []).filter(isHole).every((c) => c.reason === beforeData);
}
