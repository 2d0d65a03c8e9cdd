// Lists of the API, read over several pages.

import { get } from "../core/api.js";

const PAGE = 200;
const MOST_PAGES = 10;

/**
 * Read a list whole, up to so many pages.
 * @param {string} path @param {Record<string, any>} params @param {AbortSignal} [signal] @returns {Promise<any[]>}
 */
export async function readAll(path, params, signal) {
  const items = [];
  let cursor = null;
  for (let page = 0; page < MOST_PAGES; page++) {
    const found = await get(path, { ...params, limit: PAGE, cursor }, { signal });
    items.push(...found.items);
    if (!(cursor = found.next_cursor)) break;
  }
  return items;
}
