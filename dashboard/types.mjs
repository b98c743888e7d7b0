// Writes src/types.ts, the schemas of docs/openapi.json as TypeScript, and src/submit/fields.ts and src/videos/fields.ts,
// the settings of a render and of a presenter video as data for their forms. `make dashboard-check` runs it before the types are checked.

import { readFileSync, writeFileSync } from "node:fs";

const { schemas } = JSON.parse(readFileSync(new URL("../docs/openapi.json", import.meta.url), "utf8")).components;

const comment = (text, indent = "") => (text ? `${indent}/** ${text.replaceAll("\n", " ").replaceAll("*/", "* /")} */\n` : "");

/** A schema as a type. */
function typeOf(schema) {
  if (schema === true || schema === undefined) return "unknown";
  if (schema.$ref) return schema.$ref.split("/").pop();
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices) return choices.map(typeOf).join(" | ");
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if ("const" in schema) return JSON.stringify(schema.const);
  const kinds = [schema.type ?? []].flat();
  return kinds.map((kind) => typeOfKind(kind, schema)).join(" | ") || "unknown";
}

function typeOfKind(kind, schema) {
  if (kind === "integer") return "number";
  if (kind === "array") {
    const item = typeOf(schema.items);
    return item.includes(" | ") ? `(${item})[]` : `${item}[]`;
  }
  if (kind !== "object") return kind;
  if (schema.properties) return fieldsOf(schema);
  return `Record<string, ${typeOf(schema.additionalProperties)}>`;
}

/** The fields of an object; those that may be left out with a question mark. */
function fieldsOf(schema) {
  const fields = Object.entries(schema.properties ?? {}).map(([name, property]) => {
    const mark = schema.required?.includes(name) ? "" : "?";
    return `${comment(property.description, "  ")}  ${name}${mark}: ${typeOf(property)};\n`;
  });
  return `{\n${fields.join("")}}`;
}

const types = Object.entries(schemas).map(([name, schema]) => {
  const isObject = schema.type === "object" && !schema.oneOf;
  const body = isObject ? `interface ${name} ${fieldsOf(schema)}` : `type ${name} = ${typeOf(schema)};`;
  return `${comment(schema.description)}export ${body}\n`;
});
const head = "// Made from docs/openapi.json by dashboard/types.mjs; change the types of the crate hyperfarm-api, not this file.\n\n";
writeFileSync(new URL("src/types.ts", import.meta.url), head + types.join("\n"));

/** Kind of the input for a value of this schema; the text of a rate or a moment is checked by its pattern. */
function inputOf(schema, types) {
  if (schema.enum) return "choice";
  if (types.includes("boolean")) return "boolean";
  if (types.includes("array")) return "numbers";
  return types.includes("string") ? "text" : "number";
}

/** A setting as a form shows it; `null` for one that is neither a plain value nor a list of integers. */
function fieldOf([name, schema]) {
  const choices = schema.anyOf ?? [schema];
  const types = choices.flatMap((choice) => choice.type ?? []).filter((type) => type !== "null");
  const isList = choices.some((choice) => choice.items?.type === "integer");
  if (types.length === 0 || types.includes("object") || (types.includes("array") && !isList)) return null;
  const input = inputOf(schema, types);
  const pattern = choices.map((choice) => choice.pattern).find(Boolean) ?? null;
  return {
    name, input, pattern,
    description: schema.description.replaceAll("\n", " ").replace(/ An extension\.$/, ""),
    isNumber: types.some((type) => type === "integer" || type === "number"),
    isInteger: types.includes("integer"),
    options: schema.enum?.filter((value) => value !== null).map(String) ?? [],
    min: input === "number" ? schema.minimum ?? null : null,
    max: input === "number" ? schema.maximum ?? null : null,
    maxLength: schema.maxLength ?? null,
  };
}

/** The settings in the objects of a request too, each by the name that errors have for it, such as `background.value`. */
function nested(properties, above = "") {
  return Object.entries(properties).flatMap(([name, schema]) => {
    const parts = (schema.anyOf ?? [schema]).map((part) => (part.$ref ? schemas[part.$ref.split("/").pop()] : part));
    const object = parts.find((part) => part.properties);
    return object ? nested(object.properties, `${above}${name}.`) : [fieldOf([above + name, schema])];
  });
}

function writeFields(file, comment, name, head, fields) {
  const text = `${head}/** ${comment} */\nexport const ${name}: RequestField[] = ${JSON.stringify(fields.filter(Boolean), null, 2)};\n`;
  writeFileSync(new URL(file, import.meta.url), text);
}

const fieldsHead = `${head}export interface RequestField {
  name: string;
  input: "choice" | "boolean" | "text" | "number" | "numbers";
  pattern: string | null;
  description: string;
  isNumber: boolean;
  isInteger: boolean;
  options: string[];
  min: number | null;
  max: number | null;
  maxLength: number | null;
}

`;
writeFields("src/submit/fields.ts", "The settings of a render that are plain values.", "FIELDS", fieldsHead, Object.entries(schemas.RenderRequest.properties).map(fieldOf));
const videoHead = `${head}import type { RequestField } from "../submit/fields";\n\n`;
writeFields("src/videos/fields.ts", "The settings of a presenter video that are plain values.", "VIDEO_FIELDS", videoHead, nested(schemas.VideoRequest.properties));
