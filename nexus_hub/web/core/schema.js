// JSON Schemas of servers, made flat for a form: references followed, allOf merged, within bounds.

import { compare } from "./decimal.js";
import { bare, isNumber, isObject, write } from "./json_text.js";

const MOST_STEPS = 2000;
const MOST_CHOICES = 100;
const MOST_VALUES = 1000;
const TYPES = new Set(["object", "array", "string", "number", "integer", "boolean", "null"]);
const WORDS_OF = {
  object: ["properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"],
  array: ["items", "prefixItems", "minItems", "maxItems", "uniqueItems"],
  string: ["minLength", "maxLength", "pattern", "format"],
  number: ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"],
};
const NOTES = new Set(["title", "description", "default", "examples", "deprecated", "$comment", "$defs", "definitions", "$schema", "$id"]);
const TEXTS = new Set(["title", "description", "format", "pattern"]);
const COUNTS = new Set(["minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "multipleOf"]);
/** Rules that only the server checks. */
const HIDDEN_RULES = [
  "if", "not", "dependentRequired", "dependentSchemas", "dependencies", "propertyNames", "contains",
  "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$recursiveRef",
];

/** A schema that the form leaves to a JSON editor. */
class Unclear extends Error {}

/**
 * @typedef {object} Described
 * @property {"object" | "array" | "string" | "number" | "integer" | "boolean" | "enum" | "choice" | "json"} kind
 * @property {Record<string, any>} flat the schema without references and allOf
 * @property {boolean} nullable null is allowed beside it
 * @property {{title: string, value?: any, schema?: any}[]} choices of an enum: values; of a choice: schemas
 * @property {string[]} hidden rules that only the server checks
 * @property {string | null} note why it is left to JSON
 */

/**
 * Describe a schema as a form needs it. It never fails, and takes a bounded time.
 * @param {any} schema @param {any} root the document that its references speak of
 * @returns {Described}
 */
export function describe(schema, root) {
  const scope = { root, left: MOST_STEPS };
  try {
    return classify(flatten(schema, scope, new Set()), scope, false);
  } catch (error) {
    if (!(error instanceof Unclear || error instanceof RangeError)) throw error;
    const flat = isObject(schema) ? notesOf(schema) : bare();
    return described("json", flat, { note: error instanceof Unclear ? error.message : "It is nested too deeply." });
  }
}

function described(kind, flat, more = {}) {
  const hidden = HIDDEN_RULES.filter((rule) => rule in flat && !(rule.startsWith("unevaluated") && flat[rule] === false));
  return { kind, flat, nullable: false, choices: [], hidden, note: null, ...more };
}

function notesOf(schema) {
  return bare(Object.entries(schema).filter(([key, value]) => NOTES.has(key) && hasItsKind(key, value)));
}

/** Copy a schema with its references and its allOf put in. */
function flatten(schema, scope, seen) {
  if (schema === false) throw new Unclear("The schema allows no value here.");
  if (!isObject(schema)) return bare();
  if ((scope.left -= 1) < 0) throw new Unclear("Its schema has too many parts for a form.");
  let flat = bare(Object.entries(schema).filter(([key, value]) => key !== "$ref" && key !== "allOf" && hasItsKind(key, value)));
  if (typeof schema.$ref === "string") {
    if (seen.has(schema.$ref)) throw new Unclear("Its schema refers to itself without end.");
    flat = merge(flatten(lookUp(schema.$ref, scope.root), scope, new Set([...seen, schema.$ref])), flat);
  }
  for (const part of Array.isArray(schema.allOf) ? schema.allOf : []) flat = merge(flat, flatten(part, scope, seen));
  return flat;
}

/** Tell if a keyword's rule is of the kind that it must be; else it says nothing. */
function hasItsKind(key, value) {
  if (TEXTS.has(key)) return typeof value === "string";
  if (COUNTS.has(key)) return isNumber(value);
  return !key.startsWith("exclusive") || isNumber(value) || typeof value === "boolean";
}

/** Find what a reference within the document names. */
function lookUp(ref, root) {
  if (!ref.startsWith("#") || ref.length > 2000) throw new Unclear("Its schema refers to another document.");
  let here = root;
  for (const step of ref.slice(1).split("/").slice(1)) {
    const key = unescapeStep(step);
    if (typeof here !== "object" || here === null || !Object.hasOwn(here, key)) {
      throw new Unclear("Its schema refers to a part that is not there.");
    }
    here = here[key];
  }
  if (!ref.startsWith("#/") && ref !== "#") throw new Unclear("Its schema refers to a part by an anchor.");
  return here;
}

function unescapeStep(step) {
  let text = step;
  try {
    text = decodeURIComponent(step);
  } catch {
    // It is meant as it stands.
  }
  return text.replaceAll("~1", "/").replaceAll("~0", "~");
}

/** Put two flat schemas together: what satisfies both. */
function merge(first, second) {
  const made = bare(Object.entries(first));
  for (const [key, value] of Object.entries(second)) {
    made[key] = key in first ? (MERGED[key] ?? takeSecond)(first[key], value) : value;
  }
  return made;
}

const takeSecond = (_first, second) => second;
const takeHigher = (first, second) => (compare(first, second) === 1 ? first : second);
const takeLower = (first, second) => (compare(first, second) === -1 ? first : second);
const takeBoth = (first, second) => ({ allOf: [first, second] });

const MERGED = {
  properties: mergeMembers,
  patternProperties: mergeMembers,
  required: (first, second) => [...new Set([...listOf(first), ...listOf(second)])],
  type: mergeTypes,
  enum: (first, second) => {
    const known = new Set(listOf(second).map((one) => write(one, { tight: true })));
    return listOf(first).filter((one) => known.has(write(one, { tight: true })));
  },
  minimum: takeHigher, exclusiveMinimum: takeHigher, minLength: takeHigher, minItems: takeHigher, minProperties: takeHigher,
  maximum: takeLower, exclusiveMaximum: takeLower, maxLength: takeLower, maxItems: takeLower, maxProperties: takeLower,
  items: takeBoth,
  additionalProperties: (first, second) => (first === false || second === false ? false : takeBoth(first, second)),
  oneOf: (first) => first,
  anyOf: (first) => first,
};

function mergeMembers(first, second) {
  const made = bare(Object.entries(isObject(first) ? first : {}));
  for (const [key, value] of Object.entries(isObject(second) ? second : {})) {
    made[key] = key in made ? takeBoth(made[key], value) : value;
  }
  return made;
}

function mergeTypes(first, second) {
  const [a, b] = [typesOf(first), typesOf(second)];
  const fits = (one, others) => others.includes(one) || (one === "integer" && others.includes("number"));
  const both = [...a.filter((one) => fits(one, b)), ...b.filter((one) => fits(one, a) && !a.includes(one))];
  if (!both.length) throw new Unclear("The schema allows no value here.");
  return both.length === 1 ? both[0] : both;
}

function listOf(value) {
  return Array.isArray(value) ? value : [];
}

function typesOf(type) {
  return (Array.isArray(type) ? type : [type]).filter((one) => TYPES.has(one));
}

/** Find the kind of a flat schema. */
function classify(flat, scope, nullable) {
  if ("const" in flat) return ofValues(flat, [flat.const], nullable);
  if (Array.isArray(flat.enum)) return ofValues(flat, flat.enum, nullable);
  for (const keyword of ["oneOf", "anyOf"]) {
    if (Array.isArray(flat[keyword]) && flat[keyword].length) return ofAlternatives(flat, keyword, scope, nullable);
  }
  const types = typesOf(flat.type);
  const others = types.filter((one) => one !== "null" && !(one === "integer" && types.includes("number")));
  const withNull = nullable || (types.includes("null") && others.length > 0) || flat.nullable === true;
  if (others.length > 1) {
    const choices = others.map((type) => ({ title: type, schema: { ...bare(Object.entries(flat)), type } }));
    return described("choice", notesOf(flat), { choices, nullable: withNull });
  }
  const kind = others[0] ?? types[0] ?? infer(flat);
  if (kind === "null") return ofValues(flat, [null], false);
  if (kind === "json") return described("json", flat, { nullable: withNull, note: "Any JSON value is allowed here." });
  return described(kind, flat, { nullable: withNull });
}

function infer(flat) {
  const found = Object.entries(WORDS_OF).find(([, words]) => words.some((word) => word in flat));
  return found ? found[0] : "json";
}

function ofValues(flat, values, nullable, titles = []) {
  if (values.length > MOST_VALUES) {
    return described("json", flat, { nullable, note: `The schema lists ${values.length} values, too many for a form.` });
  }
  const names = [titles, listOf(flat.enumNames)].find((list) => list.length === values.length) ?? [];
  const choices = values.map((value, index) => ({ title: nameValue(value, names[index]), value }));
  return described("enum", flat, { choices, nullable });
}

function nameValue(value, title) {
  const shown = typeof value === "string" ? value : write(value, { tight: true });
  return typeof title === "string" && title !== shown ? `${title} (${shown})` : shown;
}

/** Read oneOf or anyOf: titled values, a value or null, rules about what is required, or a real choice. */
function ofAlternatives(flat, keyword, scope, nullable) {
  const alternatives = flat[keyword];
  const base = bare(Object.entries(flat).filter(([key]) => key !== keyword));
  if (alternatives.every((one) => isObject(one) && Object.keys(one).every((key) => key === "required" || NOTES.has(key)))) {
    const rest = classify(base, scope, nullable);
    return { ...rest, hidden: [...rest.hidden, keyword] };
  }
  if (alternatives.every((one) => isObject(one) && "const" in one)) {
    return ofValues(base, alternatives.map((one) => one.const), nullable, alternatives.map((one) => one.title));
  }
  const others = alternatives.filter((one) => !isNull(one));
  const withNull = nullable || others.length < alternatives.length;
  if (others.length > MOST_CHOICES) throw new Unclear(`The schema lists ${others.length} forms, too many to choose from.`);
  if (others.length === 0) return ofValues(base, [null], false);
  const schemas = others.map((one) => (Object.keys(base).some((key) => !NOTES.has(key)) ? { allOf: [withoutNotes(base), one] } : one));
  if (others.length > 1) {
    const choices = schemas.map((schema, index) => ({ title: nameAlternative(others[index], index, scope), schema }));
    return described("choice", base, { choices, nullable: withNull });
  }
  return classify(merge(flatten(schemas[0], scope, new Set()), notesOf(base)), scope, withNull);
}

function isNull(schema) {
  return isObject(schema) && (schema.type === "null" || schema.const === null);
}

function withoutNotes(flat) {
  return bare(Object.entries(flat).filter(([key]) => !NOTES.has(key)));
}

function nameAlternative(schema, index, scope) {
  let flat = bare();
  try {
    flat = flatten(schema, scope, new Set());
  } catch (error) {
    if (!(error instanceof Unclear)) throw error;
  }
  const fixed = Object.entries(isObject(flat.properties) ? flat.properties : {}).find(([, one]) => isObject(one) && "const" in one);
  const words = [flat.title, fixed && `${fixed[0]}: ${nameValue(fixed[1].const)}`, flat.type, nameRef(schema)];
  return String(words.find((word) => typeof word === "string" && word) ?? `form ${index + 1}`);
}

function nameRef(schema) {
  return isObject(schema) && typeof schema.$ref === "string" ? schema.$ref.split("/").at(-1) : null;
}

/**
 * Say how well a value fits a schema at first sight: below 0 not at all, else the higher the better.
 * @returns {number}
 */
export function fitOf(value, schema, root, levels = 2) {
  const found = describe(schema, root);
  if (value === null) return found.nullable || found.kind === "json" || found.choices.some((one) => one.value === null) ? 1 : -1;
  switch (found.kind) {
    case "json":
      return 0;
    case "enum":
      return found.choices.some((one) => write(one.value) === write(value)) ? 3 : -1;
    case "choice":
      return levels ? Math.max(...found.choices.map((one) => fitOf(value, one.schema, root, levels - 1))) : 0;
    case "object":
      return isObject(value) ? fitOfObject(value, found.flat, root, levels) : -1;
    default:
      return hasKind(value, found.kind) ? 2 : -1;
  }
}

function fitOfObject(value, flat, root, levels) {
  const properties = isObject(flat.properties) ? flat.properties : {};
  const missing = listOf(flat.required).filter((key) => !(key in value)).length;
  let fit = 2 - missing;
  for (const key of Object.keys(value).slice(0, 200)) {
    if (!Object.hasOwn(properties, key)) fit -= flat.additionalProperties === false ? 2 : 0.5;
    else if (!levels || fitOf(value[key], properties[key], root, levels - 1) >= 0) fit += 1;
    else if (describe(properties[key], root).kind === "enum") return -1;
  }
  return Math.max(fit, 0);
}

/** Tell if a value is of a kind of JSON Schema. */
export function hasKind(value, kind) {
  switch (kind) {
    case "object":
      return isObject(value);
    case "array":
      return Array.isArray(value);
    case "number":
    case "integer":
      return isNumber(value);
    case "null":
      return value === null;
    default:
      return typeof value === kind;
  }
}
