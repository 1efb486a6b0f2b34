// @vitest-environment happy-dom
import { expect, test } from 'vitest';
import { actions, type Backfill } from '../src/backfills';

const b = (state: string, version_state = 'building', failed = 0, waiting = 0): Backfill => ({
  id: 1, view: 'pins', stream: 'pin', version: 'abc', version_state, engine: 'kernel', state, created_at: '', finished_at: null,
  days: { failed, total: 3 }, rows_done: 0, rows_total: 0, rows_per_second: 0, eta_seconds: null, days_waiting: waiting, next_try: null,
});

test.each([
  [b('queued'), ['pause', 'cancel']],
  [b('running'), ['pause', 'cancel']],
  [b('paused'), ['resume', 'cancel']],
  [b('failed', 'building', 2), ['retry', 'cancel']],
  [b('running', 'building', 0, 1), ['pause', 'retry', 'cancel']],
  [b('paused', 'building', 0, 1), ['resume', 'retry', 'cancel']],
  [b('done', 'serving'), ['rollback']],
  [b('done', 'standby'), []],
  [b('cancelled', 'dropped', 1), []],
  [{ ...b('done', 'serving'), import: 'x.csv' }, []],
  [{ ...b('running', 'serving', 0, 1), import: 'x.csv' }, ['pause', 'retry']],
])('what can be done about it', (x, want) => {
  expect(actions(x)).toEqual(want);
});
