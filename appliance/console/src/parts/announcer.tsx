/** Tells readers of the screen a growing text at the pace of sentences, not of tokens. */

import { useEffect, useRef, useState } from 'react';
import { sentenceEnd } from '../chat/text';
import css from './announcer.module.css';

const PACE_MS = 1500;

interface AnnouncerProps {
  text: string;
  isComplete: boolean;
}

export function Announcer({ text, isComplete }: AnnouncerProps) {
  const [spoken, setSpoken] = useState('');
  const latest = useRef({ text, isComplete });
  const position = useRef(0);

  useEffect(() => {
    latest.current = { text, isComplete };
  }, [text, isComplete]);

  useEffect(() => {
    const timer = setInterval(() => {
      const { text: whole, isComplete: ended } = latest.current;
      if (position.current > whole.length) position.current = 0;
      const end = ended ? whole.length : sentenceEnd(whole, position.current);
      if (end === position.current) return;
      setSpoken(whole.slice(position.current, end).trim());
      position.current = end;
    }, PACE_MS);
    return () => clearInterval(timer);
  }, []);

  return (
    <div className={css.told} aria-live="polite" role="log">
      {spoken}
    </div>
  );
}
