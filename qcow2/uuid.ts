// UUIDs as text and as 16 bytes (RFC 9562).

const NIL = '00000000-0000-0000-0000-000000000000';

export const parseUuid = (text: string): Buffer => Buffer.from(text.replaceAll('-', ''), 'hex');

/** The uuid that was written last: a snapshot's parent is nearly always the one before it. */
let last = { hex: '', text: '' };

/** The uuid of 32 hexadecimal digits. */
export const formatUuid = (hex: string): string => {
  if (hex !== last.hex) {
    const parts = [
      hex.slice(0, 8),
      hex.slice(8, 12),
      hex.slice(12, 16),
      hex.slice(16, 20),
      hex.slice(20),
    ];
    last = { hex, text: parts.join('-') };
  }
  return last.text;
};

export const isNilUuid = (text: string): boolean => text === NIL;
export const NIL_UUID = NIL;
