// The numbers of the charts as a real table, the state of each point in words.
import type { Measure } from './api';
import { exact } from './format';
import { rowKey, stateWords, type Frame } from './series';
import { bucketLabel, type Grain } from './time';

interface Props {
  frame: Frame;
  by: string[];
  measures: Measure[];
  grain: Grain;
  tz: string;
}

const limit = 1000;

export function Table({ frame: f, by, measures, grain, tz }: Props) {
  const order = Array.from({ length: f.n }, (_, i) => i).sort(
    (a, b) => (f.time?.[b] ?? 0) - (f.time?.[a] ?? 0) || rowKey(f, by, a).localeCompare(rowKey(f, by, b)),
  );
  return (
    <div class="card table-wrap" tabIndex={0} role="region" aria-label="values as a table">
      <table>
        <caption>
          {f.n > limit ? `The newest ${limit} of ${f.n} rows; the CSV has all. ` : ''}
          Times are starts of {grain}s, {tz}.
        </caption>
        <thead>
          <tr>
            <th scope="col">time</th>
            {by.map((d) => (
              <th scope="col" key={d}>
                {d}
              </th>
            ))}
            {measures.map((m) => (
              <th scope="col" class="num" key={m.name}>
                {m.name}
              </th>
            ))}
            <th scope="col">state</th>
          </tr>
        </thead>
        <tbody>
          {order.slice(0, limit).map((i) => (
            <tr key={i} class={`row-${f.state[i]}`}>
              <th scope="row">{bucketLabel(f.time?.[i] ?? 0, grain, tz)}</th>
              {by.map((d) => (
                <td key={d}>{f.dims.get(d)?.[i] ?? <span class="muted">(none)</span>}</td>
              ))}
              {measures.map((m) => (
                <td class="num" key={m.name}>
                  {exact(f.measures.get(m.name)?.[i], m.format)}
                </td>
              ))}
              <td>{stateWords(f.meta, f.time?.[i] ?? 0, f.state[i] ?? 'complete', grain, tz) || f.state[i]}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
