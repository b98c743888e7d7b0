// Holds manifests to the schemas of Kubernetes, KEDA and the Prometheus operator: values by their validators, and names by
// the TypeScript types made of the same schemas, which refuse a member that does not exist (the schemas do not).
//
//   node validate.mjs FILE.yaml...
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { parseAllDocuments } from "yaml";

const OTHERS = { "keda.sh": "@kubernetes-models/keda/", "monitoring.coreos.com": "@kubernetes-models/prometheus-operator/" };

/** The module of an apiVersion: `v1`, `apps/v1`, `networking.k8s.io/v1`, `keda.sh/v1alpha1`. */
function moduleOf(apiVersion) {
    const group = apiVersion.includes("/") ? apiVersion.split("/")[0] : "";
    return `${OTHERS[group] ?? "kubernetes-models/"}${apiVersion}`;
}

const problems = [];
const sources = [];
let count = 0;
for (const file of process.argv.slice(2)) {
    for (const document of parseAllDocuments(readFileSync(file, "utf8"))) {
        for (const error of document.errors) problems.push(`${file}: ${error.message}`);
        const manifest = document.toJS();
        if (!manifest) continue;
        const { apiVersion, kind, metadata } = manifest;
        const what = `${file}: ${kind} ${metadata?.name}`;
        const model = await import(moduleOf(apiVersion)).then((found) => found[kind], () => undefined);
        if (!model) {
            problems.push(`${what}: there is no schema of ${apiVersion} ${kind}`);
            continue;
        }
        count += 1;
        try {
            new model(manifest).validate();
        } catch (error) {
            problems.push(`${what}: ${error.message}`);
        }
        const name = `m${sources.length}`;
        // The type of what the constructor takes; its index of `I` names is the interface of the same schema.
        sources.push({
            what,
            text: `import type { I${kind} as T${name} } from ${JSON.stringify(moduleOf(apiVersion))};\n`
                + `export const ${name}: T${name} = ${JSON.stringify(manifest)};\n`,
        });
    }
}

const folder = mkdtempSync(fileURLToPath(new URL("checked-", import.meta.url)));
try {
    const files = sources.map(({ text }, index) => {
        const path = join(folder, `${index}.ts`);
        writeFileSync(path, text);
        return path;
    });
    const program = ts.createProgram(files, {
        strict: true, noEmit: true, skipLibCheck: true, types: [],
        module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext,
    });
    for (const diagnostic of ts.getPreEmitDiagnostics(program)) {
        const index = files.indexOf(diagnostic.file?.fileName);
        problems.push(`${sources[index]?.what ?? ""}: ${ts.flattenDiagnosticMessageText(diagnostic.messageText, " ")}`);
    }
} finally {
    rmSync(folder, { recursive: true });
}

for (const problem of problems) console.error(`schema: ${problem}`);
console.log(`schema: ${count} manifests, ${problems.length} problems`);
process.exit(problems.length || !count ? 1 : 0);
