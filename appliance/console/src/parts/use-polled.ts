/** A value that the page reads again by itself while somebody looks at it. */

import { useEffect, useState } from 'react';
import type { Answered } from '../api/client';
import { asFault, type Fault } from '../api/fault';

export interface Polled<T> {
  value: T | undefined;
  /** When the value was read, by this computer's clock. */
  readAt: Date | undefined;
  /** Set while the last try failed; the value is the last one that was read. */
  fault: Fault | undefined;
}

export function usePolled<T>(read: (signal: AbortSignal) => Promise<Answered<T>>, intervalMs: number): Polled<T> {
  const [polled, setPolled] = useState<Polled<T>>({ value: undefined, readAt: undefined, fault: undefined });

  useEffect(() => {
    const control = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const turn = async () => {
      try {
        if (!document.hidden) {
          const { body } = await read(control.signal);
          setPolled({ value: body, readAt: new Date(), fault: undefined });
        }
      } catch (error) {
        if (!control.signal.aborted) setPolled((last) => ({ ...last, fault: asFault(error) }));
      }
      if (!control.signal.aborted) timer = setTimeout(() => void turn(), intervalMs);
    };
    void turn();
    return () => {
      control.abort();
      clearTimeout(timer);
    };
  }, [read, intervalMs]);

  return polled;
}
