// @vitest-environment happy-dom
import { render } from 'preact';
import { expect, test } from 'vitest';
import { AuditCard, Audits, type Audit } from '../src/audit';
import type { StreamStatus } from '../src/status';

const right: Audit = { at: '2026-11-22T09:15:00Z', from: '2026-11-01', to: '2026-11-21', days: 21, uncovered: 0, rows: 1_234_567, differences: 0, wrong_days: 0, wrong: [] };
const first = 'posted of 2026-11-21T10:00:00Z category=food: 1 in the view, 2 in the lake';
const wrong: Audit = {
  ...right,
  uncovered: 2,
  differences: 4,
  wrong_days: 3,
  wrong: [
    { day: '2026-11-21', at: right.at, result: 'different', differences: 4, first },
    { day: '2026-11-19', at: right.at, result: 'failed', differences: 0, first: 'file x.parquet is gone' },
  ],
};

const shown = (what: preact.ComponentChild): HTMLElement => {
  const at = document.createElement('div');
  render(what, at);
  return at;
};
const text = (at: HTMLElement) => at.textContent ?? '';

test('a view that was compared says when, which days, how many rows and that nothing differs', () => {
  const at = shown(<AuditCard view="pins" audit={right} />);
  for (const part of ['last 2026-11-22 09:15', '2026-11-01 to 2026-11-21', '21', '1.23M', 'differences0']) expect(text(at)).toContain(part);
  expect(at.querySelector('[role=alert]')).toBeNull();
});

test('what is wrong is named with day, bucket, group, measure and what to do', () => {
  const at = shown(<AuditCard view="pins" audit={wrong} />);
  const said = text(at.querySelector('[role=alert]') as HTMLElement);
  for (const part of ['2026-11-21: 4 numbers differ, first ' + first, '2026-11-19: could not be compared: file x.parquet is gone', 'and 1 more day', 'pinflow audit pins --range 2026-11-19..2026-11-21', 'pinflow backfill start pins']) {
    expect(said).toContain(part);
  }
  expect(text(at)).toContain('Of 2 of these days the view does not have all.');
});

test('a view that was not looked at says so', () => {
  expect(text(shown(<AuditCard view="pins" audit={null} />))).toContain('No closed day was looked at yet');
});

test('the System page has a line of each view', () => {
  const streams = [{ name: 'pin', views: [{ name: 'pins', audit: wrong }, { name: 'tags', audit: null }] }] as unknown as StreamStatus[];
  const rows = [...shown(<Audits streams={streams} />).querySelectorAll('tbody tr')].map((r) => [...r.children].map((c) => text(c as HTMLElement)));
  expect(rows).toEqual([
    ['pins', '2026-11-22 09:15:00 UTC', '21', '2026-11-01 to 2026-11-21', '1.23M', '4', '2026-11-21, 2026-11-19, …'],
    ['tags', 'no closed day yet', '0', '', '0', '0', ''],
  ]);
  expect(shown(<Audits streams={[]} />).innerHTML).toBe('');
});
