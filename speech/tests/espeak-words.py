# Prints when espeak-ng's library says that each word of ten sentences starts.
import ctypes as C, json, re, sys
lib = C.CDLL("libespeak-ng.so.1")
rate = lib.espeak_Initialize(1, 0, None, 0)
class Event(C.Structure):
    _fields_ = [("type", C.c_int), ("uid", C.c_uint), ("position", C.c_int), ("length", C.c_int), ("audio", C.c_int),
                ("sample", C.c_int), ("user", C.c_void_p), ("id", C.c_char * 8)]
class Voice(C.Structure):
    _fields_ = [("name", C.c_char_p), ("languages", C.c_char_p), ("identifier", C.c_char_p), ("gender", C.c_ubyte),
                ("age", C.c_ubyte), ("variant", C.c_ubyte), ("xx1", C.c_ubyte), ("score", C.c_int), ("spare", C.c_void_p)]
events, total = [], [0]
@C.CFUNCTYPE(C.c_int, C.POINTER(C.c_short), C.c_int, C.POINTER(Event))
def heard(wave, count, event):
    total[0] += count
    index = 0
    while event[index].type:
        if event[index].type == 1:
            events.append((event[index].position - 1, event[index].sample / rate))
        index += 1
    return 0
lib.espeak_SetSynthCallback(heard)
SENTENCES = [
    ("en-us", "Hello from the farm, this is a test of words."),
    ("en-us", "I am going to the store because of the weather. It was in the end a lot of fun!"),
    ("en-us", "The quick brown fox jumps over the lazy dog, and then it sleeps for a while."),
    ("en-us", "Welcome to our platform. Today I will walk you through the key features."),
    ("en-gb", "Dr. Smith paid $1,250.75 for it; well-known e-mail addresses cost more."),
    ("en-gb", "We measure seconds, minutes and hours: nothing else matters here."),
    ("en-us", "The apple isn't on the 3 tables at 5:30 p.m. today, is it?"),
    ("de", "Der schnelle braune Fuchs springt über den faulen Hund, und alle sehen zu."),
    ("es", "La casa blanca está cerca del río. Muy bien, gracias por venir."),
    ("it", "Oggi il tempo è bello e andiamo al mare con i nostri amici."),
]
made = []
for voice, text in SENTENCES:
    events.clear()
    total[0] = 0
    assert lib.espeak_SetVoiceByProperties(C.byref(Voice(languages=voice.encode()))) == 0, voice
    data = text.encode()
    lib.espeak_Synth(data, len(data) + 1, 0, 1, 0, 1, None, None)
    lib.espeak_Synchronize()
    words = []
    for match in re.finditer(r"\S+", text):
        inside = [start for position, start in events if match.start() <= position < match.end()]
        words.append([match.group(), round(min(inside), 3) if inside else None])
    made.append({"voice": voice, "text": text, "words": words})
print("[\n" + ",\n".join("  " + json.dumps(one, ensure_ascii=False) for one in made) + "\n]")
