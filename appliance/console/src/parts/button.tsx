/** A button of one of three weights. */

import type { ButtonHTMLAttributes } from 'react';
import { Icon, type IconName } from './icon';
import css from './button.module.css';

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  weight?: 'main' | 'plain' | 'quiet';
  icon?: IconName;
}

export function Button({ weight = 'plain', icon, children, type = 'button', ...rest }: ButtonProps) {
  const weights = { main: css.main, plain: css.plain, quiet: css.quiet };
  return (
    <button type={type} className={`${css.button} ${weights[weight]}`} {...rest}>
      {icon === undefined ? null : <Icon name={icon} />}
      <span>{children}</span>
    </button>
  );
}
