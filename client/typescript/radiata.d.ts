// Made of /openapi.json by `python -m tests.radiata_client.typescript`; a test fails where it is another.

/** What was made of the requests of a batch, in their order. */
export interface AcceptedBatch {
  generations: Generation[];
}

/** The newest version of every adapter, by name. */
export interface AdapterList {
  adapters: ShownAdapter[];
}

/** A version with the verdict of its inspection. */
export interface AdapterRecord {
  name: string;
  version: number;
  sha256: string;
  description: string;
  ignore: string[];
  /** of an image prompt: which of the base's `image_encoders` reads its pictures; empty: the one of the width that the file is made for */
  image_encoder: string | "";
  /** a picture of what it draws, as `POST /v1/images` keeps it */
  cover: string | null;
  size_bytes: number;
  /** parts of the models that it changes */
  components: string[];
  /** what it is: changes of `weights` (and embeddings beside them), an `embedding` alone, a `control` net or an `image_prompt` */
  kind: "weights" | "embedding" | "control" | "image_prompt";
  /** the same by model of `fits`, as far as it was noted */
  components_of: Record<string, string[]>;
  /** models on whose weights every layer of it has a place */
  fits: string[];
  created_at: string;
  /** whose it is; empty: the first owner's, `radiata`: it came with a base model */
  owner: string;
  /** who may use it: its owner alone (`private`), whoever names it as `owner/name` (`shared`), or all, in whose lists it is then (`public`); unset is as before, and of what is new its owner alone */
  visibility: "private" | "shared" | "public";
  /** address of the cover, as that of a picture; empty without one */
  cover_url: string;
  versions: number[];
  /** on the first of the models that it fits */
  verdict: Record<string, unknown>;
  /** by model, where it fits several */
  verdicts: Record<string, Record<string, unknown>>;
}

/** An adapter that is fetched from another host. */
export interface AdapterSource {
  /** what it has to be; null is whatever it is */
  sha256?: string | null;
  name: string;
  description?: string;
  ignore?: string[];
  /** of an image prompt: which of the base's `image_encoders` reads its pictures; empty: the one of the width that the file is made for */
  image_encoder?: string | "";
  /** a picture of what it draws, of `POST /v1/images` */
  cover?: string | null;
  /** who may use it: its owner alone (`private`), whoever names it as `owner/name` (`shared`), or all, in whose lists it is then (`public`); unset is as before, and of what is new its owner alone */
  visibility?: "private" | "shared" | "public" | null;
  /** `hf:owner/repository[@revision][:file]`, `civitai:<version id>`, or an `https://` address */
  source: string;
}

/** An adapter as a request names it. */
export interface AdapterUse {
  /** `name`, `name:version`, `owner/name` or `sha256:<64 hex>` */
  ref: string;
  /** 0 is nothing, 1 is as trained */
  strength?: number;
  /** strength by component, over `strength` */
  strengths?: Record<string, unknown>;
  /** factors of the strength by block of the model (`down`, `mid`, `up.1`: `blocks` of `GET /v1/models`) or of a part of one (`up.1.attentions`); the longest that fits counts, elsewhere it is 1 */
  blocks?: Record<string, unknown>;
  /** strength on the denoiser step by step, in place of `strength`: pairs of the fraction of the denoising from which on it holds, rising from 0, and the strength */
  schedule?: ([number, number])[];
  /** apply only the first ranks of its LoRA layers, that many, as a DyLoRA is trained to be used; layers with at most that many, and layers of other algorithms, are applied whole */
  rank?: number | null;
  /** the picture of an image prompt, or what a control net or a control LoRA reads, of the drawing's size: what is transparent in it is black */
  image?: string | null;
  /** several pictures of an image prompt, read together */
  images?: string[];
  /** what of a picture an image prompt reads, which is a square: its middle (`crop`), or all of it with white around (`pad`) */
  fit?: "crop" | "pad";
  /** what a control net or LoRA reads of its `image`: `none`, the picture itself, which is a map then; `canny`, `depth` or `pose`, the map that is made of it at the drawing's size */
  preprocess?: "none" | "canny" | "depth" | "pose";
  /** [weak, strong] of `canny`: gradients from which an edge goes on, and from which one begins; null is [100, 200] */
  thresholds?: [number, number] | null;
  /** what kind of picture it is, for a control net that is several in one: one of its `modes` */
  mode?: string | null;
  /** where in the picture it is applied, a picture of the same size: white is where, black is where not, and grey is how much. Adapters are then applied by `bypass` */
  mask?: string | null;
  /** of a mask: what becomes of layers that have no positions in the picture (text encoders, what attention makes of the text, times): such an adapter is refused, or they are changed everywhere */
  unmasked?: "refuse" | "apply";
}

/** The algorithms that are known, with the ranks and learning rates that are usual on a model. */
export interface AlgorithmList {
  /** of which the numbers hold; null where no worker has loaded it yet */
  model: string | null;
  algorithms: TrainableAlgorithm[];
}

/** One option of an algorithm; a null default means that another number decides, which `meaning` names. */
export interface AlgorithmOption {
  name: string;
  kind: "flag" | "whole" | "number" | "choice";
  default: boolean | number | string | null;
  meaning: string;
  least: number | null;
  most: number | null;
  choices: string[];
}

/** Sums over jobs that have ended, whatever became of them since. */
export interface Amounts {
  /** that have ended, in whichever way */
  generations: number;
  /** likewise */
  trainings: number;
  /** for which a worker's device drew, swapped adapters or trained */
  device_seconds: number;
  /** that were stored */
  pictures: number;
  trained_steps: number;
  /** of these pictures, and of adapters that trainings made */
  size_bytes: number;
}

/** Requests that are accepted all or none. */
export interface Batch {
  /** each as `POST /v1/generations` takes one, in their order */
  requests: GenerationRequest[];
}

export interface Body_read_v1_images_recipe_post {
  file: Blob;
}

export interface Body_upload_v1_adapters_post {
  file: Blob;
  name: string;
  description?: string;
  ignore?: string[] | null;
  /** of an image prompt: which of the base's `image_encoders` reads its pictures; empty: the one of the width that the file is made for */
  image_encoder?: string | null;
  /** a picture of what it draws, of `POST /v1/images` */
  cover?: string | null;
  /** who may use it: its owner alone (`private`), whoever names it as `owner/name` (`shared`), or all, in whose lists it is then (`public`); unset is as before, and of what is new its owner alone */
  visibility?: "private" | "shared" | "public" | null;
}

export interface Body_upload_v1_datasets_post {
  file: Blob[];
  /** of pictures that come without one */
  default_caption?: string | null;
  /** what becomes of a picture that cannot be read: the dataset is refused */
  unreadable?: "refuse" | "leave_out";
}

export interface Body_upload_v1_images_post {
  file: Blob;
}

/** Which checkpoint is meant. */
export interface Checkpoint {
  /** one of the training's `checkpoints` */
  step: number;
}

/** A dataset: what it is named by never changes. */
export interface Dataset {
  /** the hash of its pictures' refs, captions and repeats; the same content in another archive, order or under other names is the same ref */
  ref: string;
  /** in order of their refs, then of their captions */
  pictures: DatasetPicture[];
  report: DatasetReport;
  created_at: string;
}

/** Every dataset, newest first. */
export interface DatasetList {
  /** without their pictures */
  datasets: DatasetSummary[];
}

/** One picture of a dataset: its pixels by their hash, and what is said of it. */
export interface DatasetPicture {
  ref: string;
  /** null where none was found: a training then needs a default */
  caption: string | null;
  /** times that it is seen in an epoch */
  repeats: number;
  width: number;
  height: number;
  /** the same picture, small */
  thumbnail: string | null;
  /** of its file, for people: no ref depends on it */
  name: string;
  /** where the caption comes from; no ref depends on it */
  source: "file" | "metadata" | "folder" | "default" | "edited" | "missing";
}

/** What was found in what was sent. */
export interface DatasetReport {
  /** entries of the dataset: pictures that differ in pixels or caption */
  pictures: number;
  /** how many pictures have a caption from where */
  captions: Record<string, number>;
  /** files of pictures without a caption */
  missing: string[];
  /** files of pictures whose caption is empty */
  empty: string[];
  /** captions of no picture */
  orphaned: string[];
  /** files with the same pixels */
  duplicates: string[][];
  /** files that are no picture that can be read, and why */
  unreadable: Record<string, string>;
  /** files that are neither pictures nor captions */
  ignored: string[];
  /** `width×height` and how many pictures have it */
  sizes: Record<string, number>;
  /** at which `width×height` they would be trained, on the default model unless another is asked for, and how many an epoch shows; empty where no worker has loaded it. Never stored */
  buckets: Record<string, number>;
}

/** A dataset that is fetched from another host. */
export interface DatasetSource {
  /** what the zip has to be; null is whatever it is */
  sha256?: string | null;
  /** of pictures that come without one */
  default_caption?: string | null;
  /** what becomes of a picture that cannot be read */
  unreadable?: "refuse" | "leave_out";
  /** the `https://` address of a zip, or `hf:owner/repository[@revision][:file.zip]`, a hub's dataset */
  source: string;
}

/** A dataset in a list. */
export interface DatasetSummary {
  ref: string;
  pictures: number;
  captions: Record<string, number>;
  created_at: string;
}

/** One message to one address; its id is the generation's, and the `webhook-id` of every try. */
export interface Delivery {
  id: string;
  event: "generation.succeeded" | "generation.failed" | "generation.canceled";
  /** without its query */
  url: string;
  status: "waiting" | "delivered" | "failed";
  tries: number;
  /** the last 10 tries */
  last: Try[];
  created_at: string;
  /** when it is tried again */
  next_at: string | null;
}

/** Deliveries, those first of which something was written last. */
export interface DeliveryList {
  deliveries: Delivery[];
}

/** How much longer is trained. */
export interface Extension {
  /** further steps */
  steps: number;
}

/** Why a generation failed: `code` for programs, `message` for people. */
export interface Failure {
  code: string;
  message: string;
}

/** One thing that is wrong with a request, or with an uploaded file. */
export interface Fault {
  /** where: RFC 6901 into the body, a form's fields being those of an object, empty for all of it; outside of the body it begins with `/query/`, `/header/` or `/path/` */
  pointer: string;
  code: string;
  message: string;
  /** what may stand there: the values, or limits in JSON Schema's words; null where neither tells */
  allowed: unknown[] | Record<string, unknown> | null;
  /** the same place with dots, as version 0.1 had it */
  field: string | null;
  /** the tensor, module or component of a file that it is about */
  subject: string | null;
}

/** What a training would be: nothing is accepted. */
export interface ForetoldTraining {
  request: ResolvedTraining;
  /** component -> how many of its layers are trained */
  layers: Record<string, number>;
  /** how many numbers are trained */
  parameters: number;
  /** of the model's weights, of what is trained with its gradients, moments and average, and of `activation_bytes` */
  memory_bytes: number;
  /** what a step computes with: an estimate by the base's layers, the size, `batch_size` and `gradient_checkpointing`, which may be half as much again or a fifth less */
  activation_bytes: number;
  /** at which sizes the pictures are trained */
  buckets: TrainingBucket[];
  /** how often each picture is seen, its repeats counted as pictures */
  epochs: number;
  /** of training, at the pace of the newest training on this model; where there was none, an estimate by the newest picture that was drawn with it; null: there was none either */
  seconds: number | null;
  /** by what `seconds` is told */
  seconds_by: "training" | "drawing" | null;
  /** what differs from what was asked for, such as a rank cut to a layer's size */
  notes: string[];
  /** fields that the request left open -> why they are what they are */
  why: Record<string, string>;
}

/** An adapter of the request, and by what it was found. */
export interface FoundAdapter {
  name: string;
  version: number;
  sha256: string;
  by: "sha256" | "autov2" | "autov3" | "name";
}

/** What a request was read from. */
export interface FoundRecipe {
  /** a recipe of ours, or an infotext */
  source: "recipe" | "infotext";
  /** the recipe, whole */
  recipe: Record<string, unknown> | null;
  /** the infotext, also where a recipe was read */
  infotext: string;
  adapters: FoundAdapter[];
  /** keywords of further texts in the file, which were not read */
  others: string[];
  /** pixels of the picture; null without one */
  width: number | null;
  height: number | null;
}

/** One accepted request and its life. */
export interface Generation {
  id: string;
  /** whose it is; empty: the first owner's */
  owner: string;
  status: Status;
  priority: "high" | "normal" | "low";
  /** kept whatever its age; `PATCH` sets it */
  starred: boolean;
  metadata: Record<string, string>;
  /** when it fails where it was not begun */
  start_by: string | null;
  /** how many go before it, while it waits and is among the first or the last 1,000 of its queue; elsewhere null */
  queue_position: number | null;
  progress: Progress;
  request: ResolvedRequest;
  images: Image[];
  /** how the adapters were applied, once it has succeeded */
  applied: "merge" | "bypass" | "recompute" | null;
  /** why so: `asked` for; every changed weight is `mergeable`; some are `quantised`, and a bypass is cheapest; an adapter has `no_forward_form` beside, or several are `in_sequence`; one is `masked`; or the way before did not reach a layer that was `never_called`. A way that `auto` takes too is never `asked`. Null in old records */
  applied_because: "asked" | "mergeable" | "quantised" | "no_forward_form" | "in_sequence" | "never_called" | "masked" | null;
  timings_ms: Timings | null;
  /** for which a worker's device swapped adapters and drew, so far or in the end */
  device_seconds: number;
  error: Failure | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
}

/** Generations, newest first; `next` is the cursor of the following page, or null. */
export interface GenerationList {
  generations: Generation[];
  next: string | null;
}

/** What a caller asks for; whatever is null or missing is filled in when it is accepted. */
export interface GenerationRequest {
  prompt: string;
  negative_prompt?: string;
  /** `sum`: every adapter's change is taken against the pristine weight, in any order; `sequential`: each on what the ones before it in the list have left, as ComfyUI and A1111 do */
  stack_mode?: "sum" | "sequential";
  /** `merge` into the weights; `bypass`: added to what each layer puts out, for LoRA, LoCon, LoKr and (IA)³; `recompute`: each changed weight made anew whenever it is needed, for every adapter, slower; `auto`: merge, but for quantised weights bypass where that is possible, else recompute. They differ in rounding alone */
  apply?: "auto" | "merge" | "bypass" | "recompute";
  /** a sampler of the model; null is the model's own */
  sampler?: string | null;
  /** pictures */
  count?: number;
  /** how the sampler spaces noise levels, as the model's `sampler_sigmas` say; null is its own way */
  sigmas?: "karras" | "exponential" | "beta" | "simple" | null;
  /** `plain`: a bracket is a bracket; `weighted`: `(words:1.3)` weighs 1.3, `(words)` 1.1, `\(` is a bracket, and bases with `long_prompts` read a prompt of any length, piece by piece (through compel) */
  prompt_syntax?: "plain" | "weighted";
  /** how many of the last layers of its CLIPs are left out for the prompt, counted as diffusers does: 1 is A1111's `Clip skip: 2` (which is for the negative prompt too); null is none */
  clip_skip?: number | null;
  /** what the second text encoder reads; null is the same as the first */
  prompt_2?: string | null;
  /** a negative prompt for the second text encoder; null is the same as the first */
  negative_prompt_2?: string | null;
  /** how much of the contrast that guidance adds is taken back (arXiv 2305.08891); null is none */
  guidance_rescale?: number | null;
  /** how much noise DDIM adds in each step, with one of the model's `eta_samplers`; null is none */
  eta?: number | null;
  /** [width, height] from which the picture is to look scaled (SDXL); null is its own size */
  original_size?: [number, number] | null;
  /** [width, height] as which the picture is to look (SDXL); null is its own size */
  target_size?: [number, number] | null;
  /** [left, top] at which the picture is to look cut out (SDXL); null is [0, 0] */
  crops_coords_top_left?: [number, number] | null;
  /** a picture to begin from; without `width` and `height` the answer has its size */
  init_image?: string | null;
  /** how much of `init_image` is drawn anew: so much of the steps is drawn, and at 1 nothing of it is left where it is drawn; null is 0.75 with a picture */
  denoise?: number | null;
  /** of the shape of `init_image`, in any size: white is drawn anew, black is kept, bit for bit; grey is drawn for the last part of the steps alone, as large as it is light */
  mask_image?: string | null;
  /** pixels over which the change fades in, inwards from the edge of what is masked */
  mask_blur?: number;
  /** what is done with a picture of another size than the drawing: `refuse`, `stretch`, `crop` what is too much, or `pad` what is missing, which is drawn (with it the answer may have any size) */
  fit?: "refuse" | "stretch" | "crop" | "pad";
  /** `masked`: only a box around the mask is drawn, at the model's own size, scaled and put back */
  inpaint_area?: "whole" | "masked";
  /** pixels between the mask and the edges of the box that is drawn */
  inpaint_padding?: number;
  /** a second pass at a larger size; null is none */
  upscale?: Upscale | null;
  /** pictures that an editing model is shown, each at its own size */
  reference_images?: string[];
  /** what the pictures are stored as: `png` loses nothing; the recipe is in each */
  output_format?: "png" | "webp" | "jpeg";
  /** of `webp` and `jpeg`: how much of the pixels is kept; null is 90 */
  quality?: number | null;
  /** a model of `GET /v1/models`; null is its `default` */
  model?: string | null;
  adapters?: AdapterUse[];
  /** pixels, a multiple of 8; null is the model's own size */
  width?: number | null;
  /** pixels, as `width` */
  height?: number | null;
  /** denoising steps; null is the model's own number */
  steps?: number | null;
  /** how closely to follow the prompt; null is the model's own */
  guidance_scale?: number | null;
  /** picture n is drawn with seed + n; null is a random one */
  seed?: number | null;
  /** `high` goes before everything else that waits, and where there are keys it needs one of the scope `admin`; `low` goes after everything; no pixel depends on it */
  priority?: "high" | "normal" | "low";
  /** who is called once it has ended; null is nobody */
  webhook?: Webhook | null;
  /** words of your own, given back in every answer; no pixel depends on them */
  metadata?: Record<string, string>;
  /** seconds within which it has to be begun, or it fails (`not_started_in_time`); null is any time */
  start_within_s?: number | null;
}

/** One picture: where it is, what made it, and the hash of its file. */
export interface Image {
  index: number;
  url: string;
  seed: number;
  width: number;
  height: number;
  sha256: string;
  /** of its file; 0 in old records */
  size_bytes: number;
}

/** What reads the pictures of image prompts: a CLIP, by the widths that their files are made for. */
export interface ImageEncoder {
  /** numbers that it says of a whole picture */
  image_embeds: number;
  /** numbers that it says of each part of a picture */
  hidden_states: number;
  /** pixels of an edge of what it reads: a picture is cropped or padded to a square */
  size: number;
  /** sha256 over its files: it is no part of the base's, for it decides image prompts alone */
  fingerprint: string;
}

/** Whom a request comes from, and what they may do. */
export interface Known {
  owner: string;
  scopes: ("draw" | "upload" | "train" | "admin")[];
}

/** A map that is asked for; without a size it has the picture's own. */
export interface MapRequest {
  /** `canny`: its edges; `depth`: near is light; `pose`: people as OpenPose draws */
  preprocess: "canny" | "depth" | "pose";
  /** what is done with a picture of another size, as `fit` of a request */
  fit?: "refuse" | "stretch" | "crop" | "pad";
  /** [weak, strong] of `canny`: gradients from which an edge goes on, and from which one begins; null is [100, 200] */
  thresholds?: [number, number] | null;
  /** pixels, those of the drawing; null is the picture's own */
  width?: number | null;
  /** pixels, as `width` */
  height?: number | null;
}

/** What is said of a generation whatever becomes of it. */
export interface Marked {
  /** whether it is kept whatever its age */
  starred: boolean;
}

/** The request that a file means. */
export interface MeantRequest {
  /** a body of `POST /v1/generations` */
  request: Record<string, unknown>;
  found: FoundRecipe;
  unmatched: Unmatched[];
}

/** Models that a worker has loaded, the name of the default one, and those that nobody draws with now, and why. `other_bases`: fingerprints of what some workers have under a model's name beside the one that is served. `maps`: those that are made here of pictures for control nets, as `preprocess` of an adapter's entry asks for them. */
export interface ModelList {
  models: ModelProfile[];
  default: string;
  not_ready: string[];
  not_ready_why: Record<string, string>;
  other_bases: Record<string, string[]>;
  maps: ("canny" | "depth" | "pose")[];
}

/** What a base model is and what it takes, as the engine that loaded it says. */
export interface ModelProfile {
  name: string;
  /** sha256 over the base's files */
  fingerprint: string;
  pipeline: string;
  components: string[];
  dtype: string;
  device: string;
  /** on a CPU, where their number can decide the last bit */
  threads: number | null;
  width: number;
  height: number;
  max_edge: number;
  steps: number;
  guidance_scale: number;
  /** samplers that were tried on it when it was loaded, beside its own */
  samplers: string[];
  /** ways of spacing noise levels (`sigmas` of a request) of each sampler; `own` is the model's own */
  sampler_sigmas: Record<string, string[]>;
  /** the most `steps` of a sampler that has a limit of its own */
  sampler_steps: Record<string, number>;
  /** the samplers that read `eta`; `own` is the model's own */
  eta_samplers: string[];
  /** a weighted prompt may be longer than the `tokens` that it reads */
  long_prompts: boolean;
  /** the largest `clip_skip`; null: it obeys none */
  max_clip_skip: number | null;
  suggestions: string[];
  /** fields of a request -> whether it obeys them; one that it does not may only be left as it is, and so may one that version 0.1 has not and of which it says nothing */
  obeys: Record<string, boolean>;
  /** of which width and height are multiples, in pixels */
  size_multiple: number;
  /** all (width, height) that it draws; empty: any within limits */
  sizes: ([number, number])[];
  /** over how many (width × height) its device has no memory to decode a picture; null: not known */
  max_pixels: number | null;
  /** the most `steps` that it can take; null: as many as the service */
  max_steps: number | null;
  /** the `guidance_scale` over which it reads a negative prompt; null: it does not depend on that */
  negative_over: number | null;
  /** why it begins from no picture; null: it does, or it is not said */
  why_from_none: string | null;
  /** how it draws what a mask leaves open: `held`, in steps that keep the rest; `native`, as a base that is made for inpainting: it draws nothing without a mask, of which grey is black or white, the nearer one; null: not said */
  inpaint: "none" | "held" | "native" | null;
  /** how many `reference_images` it can be shown */
  max_references: number;
  /** without how many of them it draws nothing */
  min_references: number;
  /** the least pixels of an edge of one */
  reference_edge: number;
  /** the most that the longer edge of one may be of the shorter; null: any */
  reference_aspect: number | null;
  /** how `steps` times `denoise` is rounded to the steps that are drawn from a picture */
  denoise_rounding: "down" | "up";
  /** text encoder -> tokens of a prompt that it reads, those of beginning and end among them, the model's own template not; a prompt that is longer for all of them is refused */
  tokens: Record<string, number>;
  /** what a request's `apply` may say; which of them is possible depends on its adapters too */
  apply_modes: ("auto" | "merge" | "bypass" | "recompute")[];
  /** what the weights of its components are stored as where that is no float for each number: `int8`, `float8_e4m3fn`, `nf4`, `Q8_0` and its like in a GGUF file */
  quantised: string[];
  /** what an adapter for it may hold: changes of `weights`, an `embedding` for a trigger, a `control` net for its denoiser, an `image_prompt` (IP-Adapter) where it has one of `image_encoders` */
  adapter_kinds: string[];
  /** `unused`: its folder has a model that judges pictures, which is not loaded: nothing looks at what is drawn; null: it has none, or an old worker does not say */
  safety_checker: "unused" | null;
  /** an adapter's entry may have a `mask`, a region where it is applied */
  masks: boolean;
  /** what reads the pictures of image prompts, by the name that an upload may give as its `image_encoder`; `own` is the model's own part; none: such a file is refused */
  image_encoders: Record<string, ImageEncoder>;
  /** fingerprints of the models that its worker makes each kind of maps with, where these are there */
  preprocessors: Record<string, string[]>;
  /** parts of it that an adapter's `blocks` may name, or what lies in one */
  blocks: string[];
  /** of the libraries that decide what a picture looks like */
  versions: Record<string, string>;
}

/** An error as `application/problem+json` (RFC 9457) with a stable `code`. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  code: string;
  detail: string;
  /** every place that is wrong; never empty where the status is 4xx */
  errors: Fault[];
  /** of `already_ended` alone: the generation as it ended */
  generation: Generation | null;
}

/** Denoising steps done, over all pictures of the generation. */
export interface Progress {
  step: number;
  steps: number;
}

/** The parts that work; `ready`: a generation would be drawn now. */
export interface Readiness {
  ready: boolean;
  queue: boolean;
  storage: boolean;
  models: string[];
  not_ready: Record<string, string>;
  other_bases: Record<string, string[]>;
  index: number;
}

/** Captions in place of those that pictures of a dataset have. */
export interface Recaption {
  /** by picture */
  captions: Record<string, unknown>;
}

/** A picture that requests can name now. */
export interface ReceivedPicture {
  /** the hash of its pixels; the same pixels in another file are the same ref */
  ref: string;
  width: number;
  height: number;
  /** whether it has transparent pixels */
  alpha: boolean;
  /** how light its lightest pixel is, as grey from 0 (black) to 255 (white): of a mask, whether any of it is drawn anew; null: it was not noted */
  lightest: number | null;
  /** whether it has any, which a mask must not; null: it was not noted */
  colours: boolean | null;
  /** what was made of the file that its sender may not expect */
  notes: string[];
}

/** An infotext without a file. */
export interface RecipeText {
  /** an infotext, or a recipe of ours as JSON */
  parameters: string;
}

/** An adapter as it was resolved: the bytes are fixed, whatever is uploaded later. */
export interface ResolvedAdapter {
  /** `name`, `name:version`, `owner/name` or `sha256:<64 hex>` */
  ref: string;
  /** 0 is nothing, 1 is as trained */
  strength: number;
  /** strength by component, over `strength` */
  strengths: Record<string, unknown>;
  /** factors of the strength by block of the model (`down`, `mid`, `up.1`: `blocks` of `GET /v1/models`) or of a part of one (`up.1.attentions`); the longest that fits counts, elsewhere it is 1 */
  blocks: Record<string, unknown>;
  /** strength on the denoiser step by step, in place of `strength`: pairs of the fraction of the denoising from which on it holds, rising from 0, and the strength */
  schedule: ([number, number])[];
  /** apply only the first ranks of its LoRA layers, that many, as a DyLoRA is trained to be used; layers with at most that many, and layers of other algorithms, are applied whole */
  rank: number | null;
  /** the picture of an image prompt, or what a control net or a control LoRA reads, of the drawing's size: what is transparent in it is black */
  image: string | null;
  /** several pictures of an image prompt, read together */
  images: string[];
  /** what of a picture an image prompt reads, which is a square: its middle (`crop`), or all of it with white around (`pad`) */
  fit: "crop" | "pad";
  /** what a control net or LoRA reads of its `image`: `none`, the picture itself, which is a map then; `canny`, `depth` or `pose`, the map that is made of it at the drawing's size */
  preprocess: "none" | "canny" | "depth" | "pose";
  /** [weak, strong] of `canny`: gradients from which an edge goes on, and from which one begins; null is [100, 200] */
  thresholds: [number, number] | null;
  /** what kind of picture it is, for a control net that is several in one: one of its `modes` */
  mode: string | null;
  /** where in the picture it is applied, a picture of the same size: white is where, black is where not, and grey is how much. Adapters are then applied by `bypass` */
  mask: string | null;
  /** of a mask: what becomes of layers that have no positions in the picture (text encoders, what attention makes of the text, times): such an adapter is refused, or they are changed everywhere */
  unmasked: "refuse" | "apply";
  kind: "weights" | "embedding" | "control" | "image_prompt";
  name: string;
  version: number;
  sha256: string;
  ignore: string[];
  /** fingerprint of what reads the pictures of an image prompt */
  image_encoder: string;
  /** [left, top, right, bottom] of what an image prompt reads of each of its pictures */
  boxes: ([number, number, number, number])[];
  /** in a recipe: the maps that `preprocess` made, where there is one for each pass */
  maps: string[];
}

/** A request with everything filled in: it describes the same pictures for ever. */
export interface ResolvedRequest {
  prompt: string;
  negative_prompt: string;
  /** `sum`: every adapter's change is taken against the pristine weight, in any order; `sequential`: each on what the ones before it in the list have left, as ComfyUI and A1111 do */
  stack_mode: "sum" | "sequential";
  /** `merge` into the weights; `bypass`: added to what each layer puts out, for LoRA, LoCon, LoKr and (IA)³; `recompute`: each changed weight made anew whenever it is needed, for every adapter, slower; `auto`: merge, but for quantised weights bypass where that is possible, else recompute. They differ in rounding alone */
  apply: "auto" | "merge" | "bypass" | "recompute";
  /** a sampler of the model; null is the model's own */
  sampler: string | null;
  /** pictures */
  count: number;
  /** how the sampler spaces noise levels, as the model's `sampler_sigmas` say; null is its own way */
  sigmas: "karras" | "exponential" | "beta" | "simple" | null;
  /** `plain`: a bracket is a bracket; `weighted`: `(words:1.3)` weighs 1.3, `(words)` 1.1, `\(` is a bracket, and bases with `long_prompts` read a prompt of any length, piece by piece (through compel) */
  prompt_syntax: "plain" | "weighted";
  /** how many of the last layers of its CLIPs are left out for the prompt, counted as diffusers does: 1 is A1111's `Clip skip: 2` (which is for the negative prompt too); null is none */
  clip_skip: number | null;
  /** what the second text encoder reads; null is the same as the first */
  prompt_2: string | null;
  /** a negative prompt for the second text encoder; null is the same as the first */
  negative_prompt_2: string | null;
  /** how much of the contrast that guidance adds is taken back (arXiv 2305.08891); null is none */
  guidance_rescale: number | null;
  /** how much noise DDIM adds in each step, with one of the model's `eta_samplers`; null is none */
  eta: number | null;
  /** [width, height] from which the picture is to look scaled (SDXL); null is its own size */
  original_size: [number, number] | null;
  /** [width, height] as which the picture is to look (SDXL); null is its own size */
  target_size: [number, number] | null;
  /** [left, top] at which the picture is to look cut out (SDXL); null is [0, 0] */
  crops_coords_top_left: [number, number] | null;
  /** a picture to begin from; without `width` and `height` the answer has its size */
  init_image: string | null;
  /** how much of `init_image` is drawn anew: so much of the steps is drawn, and at 1 nothing of it is left where it is drawn; null is 0.75 with a picture */
  denoise: number | null;
  /** of the shape of `init_image`, in any size: white is drawn anew, black is kept, bit for bit; grey is drawn for the last part of the steps alone, as large as it is light */
  mask_image: string | null;
  /** pixels over which the change fades in, inwards from the edge of what is masked */
  mask_blur: number;
  /** what is done with a picture of another size than the drawing: `refuse`, `stretch`, `crop` what is too much, or `pad` what is missing, which is drawn (with it the answer may have any size) */
  fit: "refuse" | "stretch" | "crop" | "pad";
  /** `masked`: only a box around the mask is drawn, at the model's own size, scaled and put back */
  inpaint_area: "whole" | "masked";
  /** pixels between the mask and the edges of the box that is drawn */
  inpaint_padding: number;
  /** a second pass at a larger size; null is none */
  upscale: Upscale | null;
  /** pictures that an editing model is shown, each at its own size */
  reference_images: string[];
  /** what the pictures are stored as: `png` loses nothing; the recipe is in each */
  output_format: "png" | "webp" | "jpeg";
  /** of `webp` and `jpeg`: how much of the pixels is kept; null is 90 */
  quality: number | null;
  /** fingerprint of the base that draws it; empty in old records: any of that name */
  base: string;
  /** kind of map -> fingerprints of the models that make it; without them any do */
  preprocessors: Record<string, string[]>;
  model: string;
  adapters: ResolvedAdapter[];
  width: number;
  height: number;
  steps: number;
  guidance_scale: number;
  seed: number;
  /** steps that are drawn in each pass; empty: all, in one */
  drawn: number[];
}

/** A request with everything filled in: it describes the same adapter for ever. */
export interface ResolvedTraining {
  /** of the adapter that is made; it gets the next version of that name */
  name: string;
  /** of the adapter, as the catalog shows it */
  description: string;
  /** as `POST /v1/datasets` answers it */
  dataset: string;
  /** one of `GET /v1/trainings/algorithms`, which tells its options */
  algorithm: string;
  /** an adapter of the catalog to begin from (its weights only), of the same algorithm, rank and options; what was accepted names it by its sha256 */
  start: string | null;
  /** patterns (`unet.*attn*`) of the layers that are trained; empty: those of the model's blocks, of every kind that the algorithm reaches */
  layers: string[];
  /** whether the layers of text encoders are trained too */
  text_encoder: boolean;
  /** words that every caption begins with */
  trigger: string | null;
  /** of pictures that have none; without it such a dataset is refused */
  default_caption: string | null;
  /** pictures of one forward */
  batch_size: number;
  /** forwards of one step */
  gradient_accumulation_steps: number;
  /** how the learning rate goes after the warm-up */
  lr_scheduler: "constant" | "cosine" | "linear";
  /** steps over which the learning rate rises */
  lr_warmup_steps: number;
  /** how much of each factor a step takes away, by the learning rate, as AdamW has it */
  weight_decay: number;
  /** the largest norm of the gradient; 0 is no limit */
  max_grad_norm: number;
  /** decay of a moving average, which is then what is kept; null is none */
  ema_decay: number | null;
  /** gamma of min-SNR (arXiv 2303.09556), for bases that predict noise; null is none */
  snr_gamma: number | null;
  /** of the noise levels, for bases of flow matching, as in SD 3's paper; null is `logit_normal` */
  weighting_scheme: "uniform" | "logit_normal" | "mode" | null;
  /** whether the pieces of a caption, between commas, come in random order */
  shuffle_caption: boolean;
  /** of those pieces, how many stay in front */
  keep_tokens: number;
  /** the part of captions that is left empty */
  caption_dropout_rate: number;
  /** the part of the outputs of each layer's change that a forward leaves out; the rest is more */
  output_dropout: number;
  /** the same of the ranks of its factors, where there are some */
  rank_dropout: number;
  /** the same of the layers */
  module_dropout: number;
  /** whether half of the showings are mirrored, pictures with text too */
  mirror: boolean;
  /** pixels of a picture at most; null is the model's own; none is enlarged */
  area: number | null;
  /** compute what is large anew in the backward pass: less memory, more time, the same numbers */
  gradient_checkpointing: boolean;
  /** drawn at each checkpoint */
  samples: TrainingSample[];
  /** how the file names its tensors: as kohya and ComfyUI, or as diffusers */
  naming: "kohya" | "diffusers";
  /** how the file stores what was trained, in float32 whatever this is: `float16` is half as large; a training whose numbers are too large for it fails */
  dtype: "float32" | "float16";
  /** fingerprint of the base on which it is trained */
  base: string;
  model: string;
  rank: number | null;
  alpha: number | null;
  options: Record<string, boolean | number | string | null>;
  steps: number;
  learning_rate: number;
  seed: number;
  checkpoint_every: number;
  /** a training whose last checkpoint this one begins with */
  continues: string | null;
}

/** What messages are signed with. */
export interface Secret {
  /** `whsec_…`, for any library of Standard Webhooks */
  secret: string;
}

/** A key as it was shown when it was made. */
export interface SentKey {
  key: string;
}

/** What the cookie stands for, and until when. */
export interface Session {
  owner: string;
  scopes: ("draw" | "upload" | "train" | "admin")[];
  ends_at: string;
}

/** Who may use an adapter from now on. */
export interface Shown {
  /** who may use it: its owner alone (`private`), whoever names it as `owner/name` (`shared`), or all, in whose lists it is then (`public`); unset is as before, and of what is new its owner alone */
  visibility: "private" | "shared" | "public";
}

/** A version as it is answered. */
export interface ShownAdapter {
  name: string;
  version: number;
  sha256: string;
  description: string;
  ignore: string[];
  /** of an image prompt: which of the base's `image_encoders` reads its pictures; empty: the one of the width that the file is made for */
  image_encoder: string | "";
  /** a picture of what it draws, as `POST /v1/images` keeps it */
  cover: string | null;
  size_bytes: number;
  /** parts of the models that it changes */
  components: string[];
  /** what it is: changes of `weights` (and embeddings beside them), an `embedding` alone, a `control` net or an `image_prompt` */
  kind: "weights" | "embedding" | "control" | "image_prompt";
  /** the same by model of `fits`, as far as it was noted */
  components_of: Record<string, string[]>;
  /** models on whose weights every layer of it has a place */
  fits: string[];
  created_at: string;
  /** whose it is; empty: the first owner's, `radiata`: it came with a base model */
  owner: string;
  /** who may use it: its owner alone (`private`), whoever names it as `owner/name` (`shared`), or all, in whose lists it is then (`public`); unset is as before, and of what is new its owner alone */
  visibility: "private" | "shared" | "public";
  /** address of the cover, as that of a picture; empty without one */
  cover_url: string;
}

/** Where a generation is in its life; the last three are its ends. */
export type Status = "queued" | "running" | "succeeded" | "failed" | "canceled";

/** A picture in storage: 8-bit RGB, or RGBA where some pixel of it is not opaque. */
export interface StoredPicture {
  /** the hash of its pixels; the same pixels in another file are the same ref */
  ref: string;
  width: number;
  height: number;
  /** whether it has transparent pixels */
  alpha: boolean;
  /** how light its lightest pixel is, as grey from 0 (black) to 255 (white): of a mask, whether any of it is drawn anew; null: it was not noted */
  lightest: number | null;
  /** whether it has any, which a mask must not; null: it was not noted */
  colours: boolean | null;
}

/** Milliseconds spent waiting, loading adapters, swapping, sampling and storing. */
export interface Timings {
  queued: number;
  load: number;
  swap: number;
  sample: number;
  store: number;
  total: number;
}

/** An algorithm as a training may name it. */
export interface TrainableAlgorithm {
  name: string;
  summary: string;
  /** kinds of layers that it trains */
  reaches: string[];
  /** what the rank means for it; empty: it takes none */
  rank: string;
  default_rank: number | null;
  /** whether it takes an alpha */
  alpha: boolean;
  options: AlgorithmOption[];
  learning_rate: number;
  /** root mean square of what the first step changes in a weight, by unit of learning rate, at rank 16 */
  first_change: number;
  /** whether `learning_rate` is of the default rank, and at another as many times more as that is less */
  over_rank: boolean;
  why_rate: string;
  /** why it cannot be trained here; empty: it can */
  untrainable: string;
}

/** The version of the catalog that a training made. */
export interface TrainedAdapter {
  name: string;
  version: number;
  sha256: string;
  step: number;
}

/** One accepted training and its life. */
export interface Training {
  id: string;
  /** whose it is, and its adapter; empty: the first owner's */
  owner: string;
  status: Status;
  progress: TrainingProgress;
  request: ResolvedTraining;
  /** in the catalog before the status says `succeeded` */
  adapter: TrainedAdapter | null;
  /** samples that were drawn, in order */
  pictures: TrainingPicture[];
  /** the newest ones, which `POST …/publish` gives a version, whatever became of the training */
  checkpoints: TrainingCheckpoint[];
  /** what its worker had to say of it, such as a rank cut to a layer's size */
  notes: string[];
  error: Failure | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
}

/** A size at which pictures are trained. */
export interface TrainingBucket {
  width: number;
  height: number;
  /** how many an epoch shows at it */
  pictures: number;
}

/** A checkpoint whose adapter can be published, and its samples. */
export interface TrainingCheckpoint {
  step: number;
  /** mean of the steps before it */
  loss: number | null;
  samples: TrainingPicture[];
}

/** Trainings, newest first; `next` is the cursor of the following page, or null. */
export interface TrainingList {
  trainings: Training[];
  next: string | null;
}

/** A sample as it was drawn with a checkpoint. */
export interface TrainingPicture {
  step: number;
  /** which of the request's `samples` */
  sample: number;
  url: string;
  sha256: string;
}

/** Optimiser steps done, and how they go; what is not known yet is null. */
export interface TrainingProgress {
  step: number;
  steps: number;
  /** mean of the last steps */
  loss: number | null;
  pictures_per_s: number | null;
  /** of training, without the drawing of samples */
  remaining_s: number | null;
  /** of these steps, those that this training made itself */
  trained_steps: number;
  /** for which a worker's device made them, and all that belongs to them */
  device_seconds: number;
}

/** What a caller asks for; whatever is null or missing is filled in when it is accepted. */
export interface TrainingRequest {
  /** of the adapter that is made; it gets the next version of that name */
  name: string;
  /** of the adapter, as the catalog shows it */
  description?: string;
  /** as `POST /v1/datasets` answers it */
  dataset: string;
  /** one of `GET /v1/trainings/algorithms`, which tells its options */
  algorithm?: string;
  /** an adapter of the catalog to begin from (its weights only), of the same algorithm, rank and options; what was accepted names it by its sha256 */
  start?: string | null;
  /** patterns (`unet.*attn*`) of the layers that are trained; empty: those of the model's blocks, of every kind that the algorithm reaches */
  layers?: string[];
  /** whether the layers of text encoders are trained too */
  text_encoder?: boolean;
  /** words that every caption begins with */
  trigger?: string | null;
  /** of pictures that have none; without it such a dataset is refused */
  default_caption?: string | null;
  /** pictures of one forward */
  batch_size?: number;
  /** forwards of one step */
  gradient_accumulation_steps?: number;
  /** how the learning rate goes after the warm-up */
  lr_scheduler?: "constant" | "cosine" | "linear";
  /** steps over which the learning rate rises */
  lr_warmup_steps?: number;
  /** how much of each factor a step takes away, by the learning rate, as AdamW has it */
  weight_decay?: number;
  /** the largest norm of the gradient; 0 is no limit */
  max_grad_norm?: number;
  /** decay of a moving average, which is then what is kept; null is none */
  ema_decay?: number | null;
  /** gamma of min-SNR (arXiv 2303.09556), for bases that predict noise; null is none */
  snr_gamma?: number | null;
  /** of the noise levels, for bases of flow matching, as in SD 3's paper; null is `logit_normal` */
  weighting_scheme?: "uniform" | "logit_normal" | "mode" | null;
  /** whether the pieces of a caption, between commas, come in random order */
  shuffle_caption?: boolean;
  /** of those pieces, how many stay in front */
  keep_tokens?: number;
  /** the part of captions that is left empty */
  caption_dropout_rate?: number;
  /** the part of the outputs of each layer's change that a forward leaves out; the rest is more */
  output_dropout?: number;
  /** the same of the ranks of its factors, where there are some */
  rank_dropout?: number;
  /** the same of the layers */
  module_dropout?: number;
  /** whether half of the showings are mirrored, pictures with text too */
  mirror?: boolean;
  /** pixels of a picture at most; null is the model's own; none is enlarged */
  area?: number | null;
  /** compute what is large anew in the backward pass: less memory, more time, the same numbers */
  gradient_checkpointing?: boolean;
  /** drawn at each checkpoint */
  samples?: TrainingSample[];
  /** how the file names its tensors: as kohya and ComfyUI, or as diffusers */
  naming?: "kohya" | "diffusers";
  /** how the file stores what was trained, in float32 whatever this is: `float16` is half as large; a training whose numbers are too large for it fails */
  dtype?: "float32" | "float16";
  /** a model of `GET /v1/models`; null is its `default` */
  model?: string | null;
  /** width of the factors; null is the algorithm's own on the base; some have none */
  rank?: number | null;
  /** what is trained is scaled by alpha ÷ rank; null is the rank */
  alpha?: number | null;
  /** further options of the algorithm */
  options?: Record<string, boolean | number | string>;
  /** optimiser steps; null is 100 for each picture and batch, from 200 to 3000 */
  steps?: number | null;
  /** of AdamW, after the warm-up; null is the algorithm's own on the base */
  learning_rate?: number | null;
  /** the same request with the same seed makes the same bytes */
  seed?: number | null;
  /** steps; null is a tenth of them */
  checkpoint_every?: number | null;
}

/** A prompt that is drawn with each checkpoint, always with the same seed. */
export interface TrainingSample {
  prompt: string;
  seed?: number;
}

/** One call, and what was answered, or why nothing was. */
export interface Try {
  at: string;
  status: number | null;
  error: string;
}

/** Something that the request does not say, and why. */
export interface Unmatched {
  /** as the file calls it */
  name: string;
  value: string;
  reason: string;
}

/** An uploaded file on its way to being an adapter or a picture. */
export interface Upload {
  id: string;
  owner: string;
  kind: "adapter" | "picture" | "mask" | "map" | "dataset" | "recipe";
  status: UploadStatus;
  /** of an adapter; pictures have none */
  name: string | "";
  description: string;
  ignore: string[];
  /** of an image prompt: which of the base's `image_encoders` reads its pictures; empty: the one of the width that the file is made for */
  image_encoder: string | "";
  /** of an adapter: who may use it; null: as before, and of what is new its owner alone */
  visibility: "private" | "shared" | "public" | null;
  /** of an adapter: a picture of what it draws */
  cover: string | null;
  /** of a dataset: for pictures without a caption */
  default_caption: string | null;
  /** of a dataset: what becomes of pictures that cannot be read */
  unreadable: "refuse" | "leave_out";
  dataset: string | null;
  /** where it is fetched from; empty for what was sent */
  source: string;
  /** of what is fetched: bytes that are here */
  fetched_bytes: number;
  /** empty while it is fetched */
  sha256: string | "";
  /** 0 while that is not known */
  size_bytes: number;
  created_at: string;
  new: boolean;
  version: number | null;
  picture: StoredPicture | null;
  /** what a picture's file says of how it was made */
  written: Written | null;
  /** what was made of a picture that its sender may not expect */
  notes: string[];
  code: string | null;
  message: string | null;
  reasons: (Record<string, unknown>)[];
}

/** What became of an upload. */
export type UploadStatus = "fetching" | "inspecting" | "admitted" | "refused" | "canceled";

/** A second pass at a larger size: image to image of the first picture, with a seed derived from its own. */
export interface Upscale {
  /** by which width and height are multiplied; they are rounded to multiples that the model draws */
  scale: number;
  /** how much is drawn anew, as the `denoise` of a request */
  denoise?: number;
  /** what is scaled: the picture, or its latents, which need a `denoise` of at least 0.5 */
  method?: "lanczos" | "latent";
}

/** What was used, day by day, and the sum of these days. */
export interface UsageAnswer {
  /** the first one first; days on which no job ended are left out */
  days: UsageDay[];
  total: Amounts;
}

/** One owner's day, in UTC: of all jobs that ended on it. */
export interface UsageDay {
  /** that have ended, in whichever way */
  generations: number;
  /** likewise */
  trainings: number;
  /** for which a worker's device drew, swapped adapters or trained */
  device_seconds: number;
  /** that were stored */
  pictures: number;
  trained_steps: number;
  /** of these pictures, and of adapters that trainings made */
  size_bytes: number;
  day: string;
  /** `first` is the first owner */
  owner: string;
}

/** A dataset that waits to be read; its ref is good already. */
export interface WaitingDataset {
  id: string;
  /** null while it is fetched */
  ref: string | null;
  /** where it is fetched from; empty for what was sent */
  source: string;
  /** of what is fetched: bytes that are here */
  fetched_bytes: number;
  /** 0 while that is not known */
  size_bytes: number;
  status: UploadStatus;
}

/** A picture that waits to be decoded, or a map that waits to be made. */
export interface WaitingPicture {
  id: string;
  status: UploadStatus;
}

/** Who is called when a generation ends, as Standard Webhooks say. */
export interface Webhook {
  /** an `https://` address that takes a POST */
  url: string;
  /** of what it is told; without them, of every end */
  events?: ("generation.succeeded" | "generation.failed" | "generation.canceled")[];
}

/** Generation workers that live. */
export interface WorkerList {
  workers: WorkerState[];
}

/** A worker, and what is active and resident in its engine; fields of a newer worker are left out. */
export interface WorkerState {
  name: string;
  model: string;
  base: string;
  /** kind of map -> fingerprints of what makes it there; none of what was not fetched yet */
  preprocessors: Record<string, string[]>;
  host: string;
  state: "starting" | "started" | "idle" | "busy" | "suspended";
  active: string[];
  resident: string[];
  since: string;
}

/** What a picture's file says, as intake has read it. */
export interface Written {
  recipe: string;
  infotext: string;
  others: string[];
  width: number;
  height: number;
}

/** What each route takes and answers. */
export interface Routes {
  /** The newest generations, or of those the ones that are asked for; `before` takes the `next` of the page before. `ids` are for who follows many: those that are another's, were deleted or never were are left out; `next` is null. */
  "GET /v1/generations": {
    query: {
      /** up to 100, with commas: just these, in this order, but for those that are not there */
      ids?: string | null;
      limit?: number;
      before?: string | null;
      status?: "queued" | "running" | "succeeded" | "failed" | "canceled" | null;
      model?: string | null;
      /** any version of it was used, one version, or these bytes */
      adapter?: string | null;
      starred?: boolean | null;
      /** words of the prompt, in any order, without case and accents */
      q?: string | null;
      /** accepted then or later, as `2026-11-26T22:00:00Z` */
      since?: string | null;
      /** accepted before then */
      until?: string | null;
      seed?: number | null;
      /** `name=text`, once for each pair that it has */
      metadata?: string[] | null;
      /** another's, with the scope `admin` */
      owner?: string | null;
    };
    answer: GenerationList;
  };
  /** Accept a generation: it will end, whichever process dies meanwhile, and whether or not somebody waits for it. */
  "POST /v1/generations": {
    body: GenerationRequest;
    answer: Generation;
  };
  /** Accept up to 100 generations, all or none; what is wrong is told by pointers such as `/requests/3/steps`. The `Idempotency-Key` is that of the whole. Of requests a minute it counts as many as it has. */
  "POST /v1/generations/batch": {
    body: Batch;
    answer: AcceptedBatch;
  };
  /** A generation as it stands. */
  "GET /v1/generations/{generation_id}": {
    path: {
      generation_id: string;
    };
    answer: Generation;
  };
  /** Star a generation, or take its star: what has one is deleted by nobody but who asks for it. */
  "PATCH /v1/generations/{generation_id}": {
    path: {
      generation_id: string;
    };
    body: Marked;
    answer: Generation;
  };
  /** Cancel a generation, as `/cancel` does; one that has ended is deleted with its pictures: 204, and 410 for a week. A second DELETE of one that was canceled therefore deletes it. */
  "DELETE /v1/generations/{generation_id}": {
    path: {
      generation_id: string;
    };
    answer: Generation | undefined;
  };
  /** Cancel a generation, queued or between two steps; nothing is ever deleted. */
  "POST /v1/generations/{generation_id}/cancel": {
    path: {
      generation_id: string;
    };
    answer: Generation;
  };
  /** Everything that happened to a generation and what happens next, until it ends. A `preview` has `index`, `step`, `width`, `height` and `data`, a data URL. None is kept. */
  "GET /v1/generations/{generation_id}/events": {
    path: {
      generation_id: string;
    };
    query: {
      /** 1: `preview` events too, at most two a second, of what is drawn */
      previews?: string;
    };
    answer: Blob;
  };
  /** Every adapter, newest version each. */
  "GET /v1/adapters": {
    answer: AdapterList;
  };
  /** Upload an adapter: 201 with its verdict, 200 if it was there, 202 if inspection takes longer, 422 if refused. Or JSON with a `source`, from which it is fetched: 202, and what becomes of it where `Location` says. */
  "POST /v1/adapters": {
    body: Body_upload_v1_adapters_post | AdapterSource;
    answer: AdapterRecord | Upload;
  };
  /** The outcome of an upload: 202 while it is inspected, then its record, or 422 with every reason. */
  "GET /v1/adapters/uploads/{upload_id}": {
    path: {
      upload_id: string;
    };
    answer: AdapterRecord | Upload;
  };
  /** Cancel an upload that is fetched, waits for its inspection, or is inspected. */
  "DELETE /v1/adapters/uploads/{upload_id}": {
    path: {
      upload_id: string;
    };
    answer: Upload;
  };
  /** One adapter with its verdict; `name`, `name:version` or `sha256:…`. */
  "GET /v1/adapters/{ref}": {
    path: {
      ref: string;
    };
    query: {
      /** whose it is, where it is another's: `owner/name` of a request */
      owner?: string;
    };
    answer: AdapterRecord;
  };
  /** The file, byte for byte as it was uploaded, or a part of it. */
  "GET /v1/adapters/{ref}/file": {
    path: {
      ref: string;
    };
    query: {
      /** whose it is, where it is another's: `owner/name` of a request */
      owner?: string;
    };
    answer: Blob;
  };
  /** Say who may use all versions of an adapter; generations that were accepted before are drawn all the same. */
  "PATCH /v1/adapters/{name}": {
    path: {
      name: string;
    };
    body: Shown;
    answer: AdapterRecord;
  };
  /** Delete an adapter with all its versions; accepted generations still use it. */
  "DELETE /v1/adapters/{name}": {
    path: {
      name: string;
    };
    answer: undefined;
  };
  /** Read how a picture was made, and answer the request that it means: nothing is drawn, and nothing kept. PNG, WebP, JPEG or AVIF with a recipe of ours or an infotext (`parameters`) of A1111, SD.Next, Forge or Civitai in it; or JSON with the text alone. Adapters are found by their hashes among those that the caller may use. What the request does not say is in `unmatched`, each with a reason. 202 if reading takes longer. */
  "POST /v1/images/recipe": {
    body: Body_read_v1_images_recipe_post | RecipeText;
    answer: MeantRequest | WaitingPicture;
  };
  /** The outcome of a reading that took longer: 202 while it waits, then what the file means. */
  "GET /v1/images/recipe/{upload_id}": {
    path: {
      upload_id: string;
    };
    answer: MeantRequest | WaitingPicture;
  };
  /** Upload a picture to draw from: 201 with its ref, 200 if its pixels were there, 202 if decoding takes longer. PNG, JPEG, WebP or AVIF. Its pixels are kept as 8-bit sRGB, turned upright; the ref is their hash, so the same picture in another file is the same ref. */
  "POST /v1/images": {
    body: Body_upload_v1_images_post;
    answer: ReceivedPicture | WaitingPicture;
  };
  /** Make the map of a picture that an adapter's `preprocess` would make, and keep it: 201 with its ref, 200, or 202. It is the same to the bit at the size and with the `fit` of the drawing, so it shows what a control net will read. */
  "POST /v1/images/{ref}/preprocess": {
    path: {
      ref: string;
    };
    body: MapRequest;
    answer: ReceivedPicture | WaitingPicture;
  };
  /** The outcome of an upload or of a map: 202 while it waits, then its ref, or 422 with the reason. */
  "GET /v1/images/uploads/{upload_id}": {
    path: {
      upload_id: string;
    };
    answer: ReceivedPicture | WaitingPicture;
  };
  /** The file of one picture, drawn (`<generation>/<n>.png`) or sent (`image:<64 hex>`); its bytes never change. */
  "GET /v1/images/{key}": {
    path: {
      key: string;
    };
    query: {
      /** of a signed address: it opens without a key */
      exp?: string | null;
      /** of a signed address: it opens without a key */
      sig?: string | null;
    };
    answer: Blob;
  };
  /** Delete a picture that was sent, or a map: what was accepted with it is drawn all the same. */
  "DELETE /v1/images/{ref}": {
    path: {
      ref: string;
    };
    answer: undefined;
  };
  /** Every dataset, newest first; one that cannot be read is left out. */
  "GET /v1/datasets": {
    answer: DatasetList;
  };
  /** Send pictures with captions: 201 with ref and report, 200 if they were there, 202 if reading takes longer. A zip, or pictures and captions as one `file` each: 256 at most, each being a file on the API's disk while it is read; more of them go as one zip. Captions are `name.txt` beside `name.png`, `metadata.jsonl` or `metadata.csv` (`file_name`, `text`) in a folder, or the name of a folder `10_word`, which also says how often its pictures are seen in an epoch. Or JSON with a `source`, from which a zip is fetched. The ref is a hash of pixels, captions and repeats; that of a 202 stands for the same. */
  "POST /v1/datasets": {
    body: Body_upload_v1_datasets_post | DatasetSource;
    answer: Dataset | WaitingDataset;
  };
  /** What a sent dataset came to: 202 while it waits, then the dataset, or 422 with the reasons. */
  "GET /v1/datasets/uploads/{upload_id}": {
    path: {
      upload_id: string;
    };
    answer: Dataset | WaitingDataset;
  };
  /** One dataset with its pictures and report; pictures and thumbnails are at `/v1/images/{ref}`. */
  "GET /v1/datasets/{ref}": {
    path: {
      ref: string;
    };
    query: {
      /** of which `buckets` of the report tell; the default one */
      model?: string | null;
    };
    answer: Dataset;
  };
  /** Give pictures other captions: answers with the dataset that this makes, under its own ref; this one stays. */
  "PATCH /v1/datasets/{ref}": {
    path: {
      ref: string;
    };
    body: Recaption;
    answer: Dataset;
  };
  /** Delete a dataset that no waiting or running training needs. Its pictures stay: others, and recipes, name them. */
  "DELETE /v1/datasets/{ref}": {
    path: {
      ref: string;
    };
    answer: undefined;
  };
  /** What the caller's jobs used that have ended, each counted once, also where it was deleted since. */
  "GET /v1/usage": {
    query: {
      /** the first day, as `2026-11-26`, in UTC */
      since?: string | null;
      /** the last day */
      until?: string | null;
      /** another's, or `*` for everybody's, with the scope `admin` */
      owner?: string | null;
    };
    answer: UsageAnswer;
  };
  /** The newest trainings; `before` takes the `next` of the page before. */
  "GET /v1/trainings": {
    query: {
      limit?: number;
      before?: string | null;
    };
    answer: TrainingList;
  };
  /** Accept a training: it will end, whichever process dies meanwhile. */
  "POST /v1/trainings": {
    query: {
      /** accept nothing: 200 with what it would be and cost */
      dry_run?: boolean;
    };
    body: TrainingRequest;
    answer: Training | ForetoldTraining;
  };
  /** Every algorithm that a training may name: what it takes, what it reaches, its options and learning rate. */
  "GET /v1/trainings/algorithms": {
    query: {
      /** on which it is trained; the default one */
      model?: string | null;
    };
    answer: AlgorithmList;
  };
  /** A training as it stands. */
  "GET /v1/trainings/{training_id}": {
    path: {
      training_id: string;
    };
    answer: Training;
  };
  /** Cancel a training, as `/cancel` does; one that has ended is removed with its checkpoints and samples. */
  "DELETE /v1/trainings/{training_id}": {
    path: {
      training_id: string;
    };
    query: {
      /** give what was learned so far its version in the catalog */
      keep?: boolean;
    };
    answer: Training | undefined;
  };
  /** Everything that happened to a training and what happens next, until it ends. */
  "GET /v1/trainings/{training_id}/events": {
    path: {
      training_id: string;
    };
    answer: Blob;
  };
  /** A sample that was drawn with a checkpoint: `<step>-<sample>.png`. */
  "GET /v1/trainings/{training_id}/samples/{name}": {
    path: {
      training_id: string;
      name: string;
    };
    query: {
      /** of a signed address: it opens without a key */
      exp?: string | null;
      /** of a signed address: it opens without a key */
      sig?: string | null;
    };
    answer: Blob;
  };
  /** Cancel a training, queued or within a step; its checkpoints stay, and it can be resumed. */
  "POST /v1/trainings/{training_id}/cancel": {
    path: {
      training_id: string;
    };
    query: {
      /** give what was learned so far its version in the catalog */
      keep?: boolean;
    };
    answer: Training;
  };
  /** Go on with a training that failed or was canceled, from its last checkpoint, as a training of its own. */
  "POST /v1/trainings/{training_id}/resume": {
    path: {
      training_id: string;
    };
    answer: Training;
  };
  /** Train longer what has succeeded, from its last checkpoint, as a training of its own. */
  "POST /v1/trainings/{training_id}/extend": {
    path: {
      training_id: string;
    };
    body: Extension;
    answer: Training;
  };
  /** Give the adapter of a checkpoint a version under the training's name: 201, or 200 where it has one. The training may wait, run, or have ended in any way. */
  "POST /v1/trainings/{training_id}/publish": {
    path: {
      training_id: string;
    };
    body: Checkpoint;
    answer: AdapterRecord | Upload;
  };
  /** The newest deliveries, made or not; what was made is kept for a week. */
  "GET /v1/webhooks": {
    query: {
      limit?: number;
    };
    answer: DeliveryList;
  };
  /** What the caller's webhooks are signed with, to be given to who receives them; each owner has another. */
  "GET /v1/webhooks/secret": {
    answer: Secret;
  };
  /** Tell of a generation's end once more, now, with the same `webhook-id`; tried as long as at first. */
  "POST /v1/webhooks/{generation_id}/redeliver": {
    path: {
      generation_id: string;
    };
    answer: Delivery;
  };
  /** Every model, with its own sizes, limits and samplers. */
  "GET /v1/models": {
    answer: ModelList;
  };
  /** Every generation worker: its model and machine, its job, the adapters that are active and those in memory. */
  "GET /v1/workers": {
    answer: WorkerList;
  };
  /** What whoever asks may do, by their key or session; everything where the service has no keys. */
  "GET /v1/session": {
    answer: Known;
  };
  /** Set a cookie that stands for a key for a week, or as long as the key does; only pages of this service send it. */
  "POST /v1/session": {
    body: SentKey;
    answer: Session;
  };
  /** Have the browser forget the cookie. */
  "DELETE /v1/session": {
    answer: undefined;
  };
  /** The process answers, whatever uploads, storage or Redis do: this waits for none of them. */
  "GET /healthz": {
    answer: Record<string, string>;
  };
  /** Queue, storage and at least one model are there, and somebody draws with it. An `index` that is still being made, 0 to 1, makes older pages of lists wait, and nothing else. */
  "GET /readyz": {
    answer: Readiness;
  };
  /** Figures for Prometheus. */
  "GET /metrics": {
    answer: undefined;
  };
}
