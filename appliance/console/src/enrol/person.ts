/** What the ceremony asks of one person, and what the page can say about it before the box decides. Pure. */

export interface Person {
  username: string;
  password: string;
  /** Base32 secret of the one-time codes; the person's device was seen to hold it. */
  secret: string;
}

export const PASSWORD_CHARS_MIN = 12;
export const PASSWORD_CLASSES_MIN = 3;

export interface PasswordChecks {
  isLongEnough: boolean;
  hasClasses: boolean;
  isNotTheName: boolean;
}

export function checkPassword(password: string, username: string): PasswordChecks {
  const classes = [/[a-z]/, /[A-Z]/, /[0-9]/, /[^a-zA-Z0-9]/].filter((pattern) => pattern.test(password)).length;
  return {
    isLongEnough: Array.from(password).length >= PASSWORD_CHARS_MIN,
    hasClasses: classes >= PASSWORD_CLASSES_MIN,
    isNotTheName: username === '' || !password.toLowerCase().includes(username.toLowerCase()),
  };
}

export function isStrong(checks: PasswordChecks): boolean {
  return checks.isLongEnough && checks.hasClasses && checks.isNotTheName;
}

/** A name is taken if somebody else of this ceremony has it, whatever the case. */
export function isTaken(username: string, others: readonly string[]): boolean {
  return others.some((other) => other.toLowerCase() === username.toLowerCase());
}
