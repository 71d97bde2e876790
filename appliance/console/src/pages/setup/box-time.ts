/** The box's time: its `Date` header, since codes are judged by its clock and not by this computer's. */

import { readSetUp } from '../../api/client';

export async function boxTimeNow(): Promise<Date> {
  const { boxTime } = await readSetUp();
  return boxTime ?? new Date();
}
