/** Version of this package; a test compares it with package.json. */
export const VERSION = "0.1.0";
/** How the SDK names itself to the server. */
export const SDK = `haulier-typescript/${VERSION}`;
