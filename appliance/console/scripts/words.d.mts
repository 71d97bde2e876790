export interface Source {
  path: string;
  text: string;
}
export function catalogueFaults(catalogue: object): string[];
export function usageFaults(catalogue: object, sources: readonly Source[]): string[];
export function placeholders(pattern: string): string[];
