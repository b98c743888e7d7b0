// Made from docs/openapi.json by dashboard/types.mjs; change the types of the crate hyperfarm-api, not this file.

import type { RequestField } from "../submit/fields";

/** The settings of a presenter video that are plain values. */
export const VIDEO_FIELDS: RequestField[] = [
  {
    "name": "aspect_ratio",
    "input": "choice",
    "pattern": null,
    "description": "Shape; `auto`, the default, is that of the photo.",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "auto",
      "16:9",
      "9:16",
      "4:5",
      "5:4",
      "1:1"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "audio_asset_id",
    "input": "text",
    "pattern": null,
    "description": "The same as an asset.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 64
  },
  {
    "name": "audio_url",
    "input": "text",
    "pattern": null,
    "description": "URL of a WAV or MP3 file of at most 50 MB and 600 s that the person says.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 2048
  },
  {
    "name": "avatar_id",
    "input": "text",
    "pattern": null,
    "description": "The look. Required with the type `avatar`.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 64
  },
  {
    "name": "background.asset_id",
    "input": "text",
    "pattern": null,
    "description": "The same as an asset.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 64
  },
  {
    "name": "background.type",
    "input": "choice",
    "pattern": null,
    "description": "What it is.",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "color",
      "image",
      "video"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "background.url",
    "input": "text",
    "pattern": null,
    "description": "URL of a file of at most 50 MB: PNG or JPEG with the type `image`, MP4 or WebM with the type `video`. With these types this or `asset_id` is required.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 2048
  },
  {
    "name": "background.value",
    "input": "text",
    "pattern": null,
    "description": "The colour, such as `#1a2b3c`. Required with the type `color`.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 32
  },
  {
    "name": "callback_id",
    "input": "text",
    "pattern": null,
    "description": "Echoed in events.",
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
    "description": "An https URL to tell of the end.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 2048
  },
  {
    "name": "captions",
    "input": "boolean",
    "pattern": null,
    "description": "Shows the words of the script in the picture.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "engine.type",
    "input": "text",
    "pattern": null,
    "description": "One of a look's `supported_api_engines`.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 64
  },
  {
    "name": "expressiveness",
    "input": "choice",
    "pattern": null,
    "description": "How much head and brows move; `low` by default. Only with the type `avatar`.",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "low",
      "medium",
      "high"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "motion_prompt",
    "input": "text",
    "pattern": null,
    "description": "The hosted service moves the body by a description. This farm refuses it.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 2000
  },
  {
    "name": "output_format",
    "input": "choice",
    "pattern": null,
    "description": "Container; `mp4` by default. `webm` keeps transparency.",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "mp4",
      "webm"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "remove_background",
    "input": "boolean",
    "pattern": null,
    "description": "Leaves out what is behind the person. A PNG file with transparency keeps its own; of other photos the farm cuts the person out.",
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
    "description": "Height class; `1080p` by default.",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "720p",
      "1080p",
      "4k"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "script",
    "input": "text",
    "pattern": null,
    "description": "What the person says. Excludes `audio_url` and `audio_asset_id`.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 5000
  },
  {
    "name": "title",
    "input": "text",
    "pattern": null,
    "description": "Name to show to people.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 500
  },
  {
    "name": "type",
    "input": "choice",
    "pattern": null,
    "description": "Who presents: a look, or a photo that is used once.",
    "isNumber": false,
    "isInteger": false,
    "options": [
      "avatar",
      "image",
      "cinematic"
    ],
    "min": null,
    "max": null,
    "maxLength": null
  },
  {
    "name": "voice_id",
    "input": "text",
    "pattern": null,
    "description": "Who speaks the script. Required with it.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 100
  },
  {
    "name": "voice_settings.locale",
    "input": "text",
    "pattern": null,
    "description": "The language as a BCP-47 tag, for voices that speak several.",
    "isNumber": false,
    "isInteger": false,
    "options": [],
    "min": null,
    "max": null,
    "maxLength": 35
  },
  {
    "name": "voice_settings.pitch",
    "input": "number",
    "pattern": null,
    "description": "Higher or lower than the voice's own pitch; 0 is the default.",
    "isNumber": true,
    "isInteger": true,
    "options": [],
    "min": -50,
    "max": 50,
    "maxLength": null
  },
  {
    "name": "voice_settings.speed",
    "input": "number",
    "pattern": null,
    "description": "Multiple of the voice's own speed; 1 is the default.",
    "isNumber": true,
    "isInteger": false,
    "options": [],
    "min": 0.5,
    "max": 1.5,
    "maxLength": null
  }
];
