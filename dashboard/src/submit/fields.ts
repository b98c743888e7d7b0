// Made from docs/openapi.json by dashboard/types.mjs; change the types of the crate hyperfarm-api, not this file.

export interface RequestField {
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

/** The settings of a render that are plain values. */
export const FIELDS: RequestField[] = [
  {
    "name": "aspect_ratio",
    "input": "choice",
    "pattern": null,
    "description": "Shape; else the composition's own.",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "16:9",
      "9:16",
      "1:1"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "audio_codec",
    "input": "choice",
    "pattern": null,
    "description": "Codec of the sound; else PCM of 24 bits in masters (every profile but `4444`), Opus in webm, and AAC.",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "aac",
      "opus",
      "pcm"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "audio_url",
    "input": "text",
    "pattern": null,
    "description": "A sound to put under everything, from the first frame on: a URL, or a file of the project.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 2048
  },
  {
    "name": "bit_depth",
    "input": "choice",
    "pattern": null,
    "description": "Bits a sample of H.265 and AV1, 8 or 10; 8 by default.",
    "isNumber": true,
    "isInteger": true,
    "options": [
      "8",
      "10"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "callback_id",
    "input": "text",
    "pattern": null,
    "description": "An id of your own, given back in webhooks.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 256
  },
  {
    "name": "callback_url",
    "input": "text",
    "pattern": null,
    "description": "An https URL that is told of the end.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 2048
  },
  {
    "name": "caption_track",
    "input": "boolean",
    "pattern": null,
    "description": "Put the captions of the composition into the mp4 or mov as a text track that players can turn on.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "captions",
    "input": "boolean",
    "pattern": null,
    "description": "Write the captions of the composition beside the video, as a SubRip and a WebVTT file.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "chunk_frames",
    "input": "number",
    "pattern": null,
    "description": "Frames a chunk.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": 1,
    "max": 1000000,
    "maxLength": null
  },
  {
    "name": "codec",
    "input": "choice",
    "pattern": null,
    "description": "Codec, else the format's usual one.",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "h264",
      "h265",
      "vp8",
      "vp9",
      "av1",
      "prores",
      "dnxhr",
      "gif",
      "png-sequence"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "composition",
    "input": "text",
    "pattern": null,
    "description": "Entry page in the project; `index.html` by default.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 512
  },
  {
    "name": "crf",
    "input": "number",
    "pattern": null,
    "description": "Constant rate factor, instead of the quality's.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": 0,
    "max": 63,
    "maxLength": null
  },
  {
    "name": "device_scale_factor",
    "input": "number",
    "pattern": null,
    "description": "Device pixels a pixel of the page, 1 to 4.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": 1,
    "max": 4,
    "maxLength": null
  },
  {
    "name": "duration",
    "input": "number",
    "pattern": null,
    "description": "Seconds; 0 is the composition's own length.",
    "isNumber": true,
    "isInteger": false,
    "options": [],
    "min": 0,
    "max": null,
    "maxLength": null
  },
  {
    "name": "format",
    "input": "choice",
    "pattern": null,
    "description": "Container; `mp4` by default. `gif`, `png-sequence` and `hls` are extensions.",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "mp4",
      "webm",
      "mov",
      "gif",
      "png-sequence",
      "hls"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "fps",
    "input": "text",
    "pattern": null,
    "description": "Frames a second, 1 to 240, or a fraction such as `30000/1001`; else the composition's, else 30.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "from",
    "input": "text",
    "pattern": "^[0-9]+(\\.[0-9]+)?[fs]?$",
    "description": "First moment of the output: seconds, or a frame such as `75f`; else the composition's start.",
    "isNumber": true,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "gif_loop",
    "input": "number",
    "pattern": null,
    "description": "Times a GIF repeats; 0 for ever.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": 0,
    "max": 65535,
    "maxLength": null
  },
  {
    "name": "hdr",
    "input": "choice",
    "pattern": null,
    "description": "High dynamic range, in H.265 of 10 bits (mp4): `hdr10`, `hlg`, or `auto`, which is HDR10 where a video of the composition is PQ, else HLG. SDR white is 203 cd/m².",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "auto",
      "hdr10",
      "hlg"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "height",
    "input": "number",
    "pattern": null,
    "description": "Pixels down, with `width`.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": 16,
    "max": 8192,
    "maxLength": null
  },
  {
    "name": "html",
    "input": "text",
    "pattern": null,
    "description": "One page, instead of `project`.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "keep_for",
    "input": "text",
    "pattern": null,
    "description": "How long the render is kept after its end, such as `12h` or `30d`, if the farm keeps it that long; by default as long as the farm keeps renders.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "loudness",
    "input": "number",
    "pattern": null,
    "description": "Loudness of the whole composition's sound in LUFS (EBU R 128), -31 to -9, such as -16; else as it is mixed.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": -31,
    "max": -9,
    "maxLength": null
  },
  {
    "name": "max_parallel_chunks",
    "input": "number",
    "pattern": null,
    "description": "Chunks at work at once.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": 1,
    "max": 100000,
    "maxLength": null
  },
  {
    "name": "motion_blur",
    "input": "number",
    "pattern": null,
    "description": "Motion blur: pictures that are averaged into each frame, 2 to 64; 0 for none. Else as the composition's root says.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": 0,
    "max": 64,
    "maxLength": null
  },
  {
    "name": "now",
    "input": "text",
    "pattern": null,
    "description": "What the page's clocks show in its first frame, in UTC, such as `2026-11-28T20:00:00Z`; else the moment of the submission. Renders of one composition have equal bytes where they have the same one.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "pool",
    "input": "text",
    "pattern": null,
    "description": "Which workers take it.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "poster",
    "input": "text",
    "pattern": "^[0-9]+(\\.[0-9]+)?[fs]?$",
    "description": "Write the frame of this moment beside the video as a JPEG file: seconds, or a frame such as `75f`.",
    "isNumber": true,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "priority",
    "input": "number",
    "pattern": null,
    "description": "Higher goes first; 0 is usual.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": -100,
    "max": 100,
    "maxLength": null
  },
  {
    "name": "profile",
    "input": "choice",
    "pattern": null,
    "description": "Profile of ProRes (`4444` by default) or DNxHR (`dnxhr-hqx`).",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "422-lt",
      "422",
      "422-hq",
      "4444",
      "4444-xq",
      "dnxhr-hq",
      "dnxhr-hqx"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "quality",
    "input": "choice",
    "pattern": null,
    "description": "Effort of the encoder; `standard` by default.",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "draft",
      "standard",
      "high"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "renditions",
    "input": "numbers",
    "pattern": null,
    "description": "Short sides, in pixels, of an hls package's renditions beside the output's own size; else those of 1080, 720 and 480 that are smaller than it.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "resolution",
    "input": "choice",
    "pattern": null,
    "description": "Height class; else the composition's own size.",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "1080p",
      "4k"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "runtime",
    "input": "text",
    "pattern": null,
    "description": "Version of the HyperFrames runtime, or a range such as `^0.8.100`; else the one that the project names, else the default one.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 64
  },
  {
    "name": "shutter_angle",
    "input": "number",
    "pattern": null,
    "description": "Degrees for which the shutter of the motion blur is open, 1 to 360, which is the time of a frame; 180 by default.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": 1,
    "max": 360,
    "maxLength": null
  },
  {
    "name": "shutter_phase",
    "input": "number",
    "pattern": null,
    "description": "Degrees from the moment of a frame to the opening of the shutter, -360 to 0; -90 by default. With 0 no frame shows what was before it, so that cuts stay sharp.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": -360,
    "max": 0,
    "maxLength": null
  },
  {
    "name": "storyboard",
    "input": "number",
    "pattern": null,
    "description": "Seconds between the pictures of a storyboard beside the video: JPEG sheets and a WebVTT file.",
    "isNumber": true,
    "isInteger": false,
    "options": [],
    "min": 0,
    "max": null,
    "maxLength": null
  },
  {
    "name": "strict_variables",
    "input": "boolean",
    "pattern": null,
    "description": "Unknown or mistyped variables are errors.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "timecode",
    "input": "text",
    "pattern": "^[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}[:;][0-9]{1,3}$",
    "description": "Timecode of the composition's first frame in a mov's timecode track, such as `01:00:00:00`. Without it, masters (every profile but `4444`) begin with `00:00:00:00`.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "title",
    "input": "text",
    "pattern": null,
    "description": "A name for people.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 500
  },
  {
    "name": "to",
    "input": "text",
    "pattern": "^[0-9]+(\\.[0-9]+)?[fs]?$",
    "description": "End of the output, which is not part of it: seconds, or a frame such as `150f`; else the composition's end.",
    "isNumber": true,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "transparent",
    "input": "boolean",
    "pattern": null,
    "description": "Keep the transparency; else as the format does.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "true_peak",
    "input": "number",
    "pattern": null,
    "description": "Highest true peak in dBTP, -9 to 0, with `loudness`; -1 by default.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": -9,
    "max": 0,
    "maxLength": null
  },
  {
    "name": "verify",
    "input": "boolean",
    "pattern": null,
    "description": "Open the page a few times first, and warn of what does not look the same each time.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "video_bitrate",
    "input": "text",
    "pattern": null,
    "description": "Bits a second, or text such as `10M`.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "vp9_cpu_used",
    "input": "number",
    "pattern": null,
    "description": "Speed of the VP9 encoder, -8 (slow) to 8.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": -8,
    "max": 8,
    "maxLength": null
  },
  {
    "name": "wav",
    "input": "boolean",
    "pattern": null,
    "description": "Write the sound beside the video as well, as a WAV file of 24 bits.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "width",
    "input": "number",
    "pattern": null,
    "description": "Pixels across, with `height`.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": 16,
    "max": 8192,
    "maxLength": null
  }
];
