export function fileFaults(name: string, text: string): string[];
