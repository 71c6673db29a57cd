// Fields of a request that have no place of their own in the form: an input for each that the model obeys.

import { createFields, othersOf, valueOf } from "./fields.js";

const OWN_SAMPLER = "own"; // as a profile calls it
// Of fields of which `obeys` says nothing, and of some of which it does: their choices, or whether they may be set at all
const LISTED = {
  apply: (profile) => profile.apply_modes ?? true,
  stack_mode: () => true, // the service's own, as is the next
  priority: () => true,
  sigmas: (profile, sampler) => profile.sampler_sigmas?.[sampler] ?? [],
  eta: (profile, sampler) => Boolean(profile.obeys?.eta && profile.eta_samplers?.includes(sampler)),
};

/** The inputs in `place`, and the values that they stand for. */
export function createFurther(place) {
  const fields = createFields(place, "further");
  return {
    ...fields,

    /** Shows an input for each of these fields that the model obeys with a sampler; what was typed stays. */
    offer(known, profile, sampler) {
      const offered = {};
      for (const [name, described] of Object.entries(known)) {
        const schema = valueOf(described);
        const may = LISTED[name]?.(profile, sampler || OWN_SAMPLER) ?? profile.obeys?.[name] ?? false;
        const listed = Array.isArray(may);
        const choices = listed ? othersOf(may, schema.default) : schema.choices;
        if (listed ? choices : may) offered[name] = { ...schema, choices };
      }
      fields.offer(offered);
    },
  };
}
