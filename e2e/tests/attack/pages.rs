//! Hostile pages, written by code.

use super::Must::{self, Complete, Contain, Fail};

/// A hostile page: its name, what must happen, its script.
pub(crate) type Page = (&'static str, Must, &'static str);

/// Codes of pages that are ended for what they do.
const ENDED: &[&str] = &["PAGE_CRASHED", "PAGE_UNRESPONSIVE", "PAGE_NOT_READY", "SCRIPT_ERROR"];

/// The document of a page with this script.
pub(crate) fn document(script: &str) -> String {
    format!(
        r#"<!doctype html><html><body style="margin:0;background:#123">
<div id="root" data-composition-id="main" data-width="320" data-height="180" data-start="0" data-duration="1" data-fps="10"
 data-no-timeline><b style="color:#fff">x</b></div>
<script>{script}</script></body></html>"#
    )
}

/// Those that are quick enough for every run of the tests.
pub(crate) const QUICK: &[&str] = &["memory-arrays", "windows", "network-fetch", "console-flood", "host-replaced"];

/// Every page.
pub(crate) const PAGES: &[Page] = &[
    // Memory.
    ("memory-arrays", Fail(ENDED), "k=[];for(;;)k.push(new Uint8Array(32<<20).fill(7))"),
    ("memory-arrays-slow", Contain, "k=[];setInterval(()=>k.push(new Uint8Array(64<<20).fill(7)),1)"),
    ("memory-strings", Fail(ENDED), "k=[];for(let i=0;;i++)k.push(('A'+i).repeat(1<<20).split('').join('b'))"),
    ("memory-objects", Fail(ENDED), "k=[];for(let i=0;;i++)k.push({i,a:[i,i,i],s:'x'+i})"),
    ("memory-nodes", Fail(ENDED), "for(;;)document.body.append(document.createElement('div'))"),
    (
        "memory-canvases",
        Contain,
        "for(let i=0;i<100;i++){const c=document.createElement('canvas');c.width=c.height=8192;c.getContext('2d').fillRect(0,0,8192,8192);\
         document.body.append(c)}",
    ),
    (
        "memory-webgl",
        Contain,
        "const g=document.createElement('canvas').getContext('webgl');for(let i=0;g&&i<200;i++){g.bindTexture(g.TEXTURE_2D,g.createTexture());\
         g.texImage2D(g.TEXTURE_2D,0,g.RGBA,4096,4096,0,g.RGBA,g.UNSIGNED_BYTE,new Uint8Array(4096*4096*4).fill(9))}",
    ),
    ("memory-blobs", Contain, "k=[];for(let i=0;i<100;i++)k.push(new Blob([new Uint8Array(64<<20).fill(i)]))"),
    (
        "memory-images",
        Contain,
        "k=[];(async()=>{for(let i=0;i<100;i++)k.push(await createImageBitmap(new ImageData(4096,4096)))})()",
    ),
    (
        "memory-audio",
        Contain,
        "k=[];for(let i=0;i<100;i++)k.push(new AudioBuffer({length:1<<24,numberOfChannels:2,sampleRate:48000}))",
    ),
    (
        "memory-wasm",
        Contain,
        "k=[];for(let i=0;i<60;i++){const m=new WebAssembly.Memory({initial:1600});new Uint8Array(m.buffer).fill(1);k.push(m)}",
    ),
    (
        "memory-workers",
        Contain,
        "for(let i=0;i<8;i++)new Worker(URL.createObjectURL(new Blob(['k=[];for(;;)k.push(new Uint8Array(16<<20).fill(1))'])))",
    ),
    ("memory-regexp", Contain, "try{new RegExp('(?:'.repeat(1e5)+')'.repeat(1e5)).test('a')}catch{}"),
    // Time.
    ("time-load", Fail(ENDED), "for(;;);"),
    ("time-seek", Fail(ENDED), "window.__hf={duration:1,seek(t){if(t>.5)for(;;);}}"),
    ("time-microtasks", Fail(ENDED), "(function f(){Promise.resolve().then(f)})()"),
    ("time-regexp", Fail(ENDED), "/^(a+)+$/.test('a'.repeat(60)+'!')"),
    ("time-worker", Contain, "for(let i=0;i<16;i++)new Worker(URL.createObjectURL(new Blob(['for(;;);'])))"),
    ("time-timers", Contain, "(function f(){setTimeout(f);setTimeout(f)})()"),
    (
        "time-animation-frames",
        Contain,
        "(function f(){requestAnimationFrame(f);const e=performance.now()+1e4;while(performance.now()<e);})()",
    ),
    ("time-debugger", Contain, "debugger"),
    (
        "time-request",
        Contain,
        "for(let i=0;i<1000;i++){const x=new XMLHttpRequest;x.open('GET','/index.html?'+i,false);x.send()}",
    ),
    ("time-shared-worker", Contain, "new SharedWorker(URL.createObjectURL(new Blob(['for(;;);'])),'hold')"),
    ("time-writes", Contain, "for(let i=0;i<200;i++)document.write('<p>'.repeat(500))"),
    // Windows and dialogs.
    ("windows", Complete("tried to open"), "for(let i=0;i<50;i++)open('/index.html','w'+i)"),
    (
        "windows-links",
        Contain,
        "for(let i=0;i<20;i++){const a=document.createElement('a');a.href='/index.html';a.target='_blank';document.body.append(a);a.click()}",
    ),
    ("dialogs", Contain, "for(let i=0;i<50;i++){alert(i);confirm(i);prompt(i)}"),
    ("print", Contain, "print();stop();close()"),
    (
        "permissions",
        Contain,
        "Notification.requestPermission();navigator.geolocation.getCurrentPosition(()=>0);navigator.mediaDevices?.getUserMedia({video:true}).catch(()=>0)",
    ),
    // Leaving the page.
    ("leave-reload", Contain, "setTimeout(()=>location.reload(),20)"),
    (
        "leave-refresh",
        Contain,
        "document.head.innerHTML='<meta http-equiv=refresh content=\"0;url=http://127.0.0.2:9901/refresh\">'",
    ),
    ("leave-file", Contain, "setTimeout(()=>location='file:///etc/passwd',20)"),
    ("leave-chrome", Contain, "setTimeout(()=>location='chrome://version',20)"),
    ("leave-data", Contain, "setTimeout(()=>location='data:text/html,<script>for(;;);</'+'script>',20)"),
    ("leave-script", Contain, "setTimeout(()=>location='javascript:document.write(1)',20)"),
    (
        "leave-form",
        Contain,
        "const f=document.createElement('form');f.action='http://127.0.0.2:9901/form';f.method='post';document.body.append(f);f.submit()",
    ),
    (
        "leave-download",
        Contain,
        "const a=document.createElement('a');a.href='data:application/octet-stream,x';a.download='x.bin';a.click()",
    ),
    ("leave-history", Contain, "for(let i=0;i<5000;i++)history.pushState({i},'','?'+i)"),
    (
        "frames-nested",
        Contain,
        "if(self===top||location.hash.length<40){const f=document.createElement('iframe');f.src='index.html#'+location.hash.length+location.hash;document.body.append(f)}",
    ),
    (
        "frames-file",
        Contain,
        "for(const u of ['file:///etc/passwd','chrome://gpu','view-source:http://127.0.0.1/']){const f=document.createElement('iframe');f.src=u;document.body.append(f)}",
    ),
    // The network.
    (
        "network-fetch",
        Contain,
        "for(const u of ['http://127.0.0.1:9901/a','http://127.0.0.2:9901/a','http://127.0.0.3:9901/a','http://[::1]:9901/a','http://0.0.0.0:9902/a','http://127.0.0.1:6399/'])fetch(u,{mode:'no-cors'}).catch(()=>0)",
    ),
    (
        "network-sockets",
        Contain,
        "for(const u of ['ws://127.0.0.1:9901/','ws://127.0.0.2:9901/'])try{new WebSocket(u)}catch{}try{new EventSource('http://127.0.0.1:9901/')}catch{}try{new WebTransport('https://127.0.0.1:4433/')}catch{}",
    ),
    (
        "network-beacon",
        Contain,
        "navigator.sendBeacon('http://127.0.0.1:9901/b','x');new Image().src='http://127.0.0.2:9901/i';fetch('http://127.0.0.1:9901/k',{keepalive:true,mode:'no-cors'}).catch(()=>0)",
    ),
    (
        "network-rtc",
        Contain,
        "const p=new RTCPeerConnection({iceServers:[{urls:'stun:127.0.0.1:3478'}]});p.createDataChannel('x');p.createOffer().then(o=>p.setLocalDescription(o))",
    ),
    (
        "network-links",
        Contain,
        "for(const r of ['prefetch','preconnect','dns-prefetch','preload','modulepreload','stylesheet','icon','manifest']){const l=document.createElement('link');l.rel=r;l.as='script';l.href='http://127.0.0.1:9901/'+r;document.head.append(l)}",
    ),
    (
        "network-css",
        Contain,
        "const s=document.createElement('style');s.textContent='@import \"http://127.0.0.1:9901/c\";body{background:url(http://127.0.0.2:9901/u)}';document.head.append(s)",
    ),
    (
        "network-speculation",
        Contain,
        "const s=document.createElement('script');s.type='speculationrules';s.textContent='{\"prerender\":[{\"urls\":[\"http://127.0.0.1:9901/p\"]}]}';document.head.append(s)",
    ),
    ("network-service-worker", Contain, "navigator.serviceWorker?.register('index.html').catch(()=>0)"),
    // Floods.
    ("console-flood", Contain, "for(let i=0;i<1e5;i++)console.warn('flood '+i)"),
    ("console-large", Contain, "for(let i=0;i<20;i++)console.error('A'.repeat(32<<20))"),
    ("exceptions", Contain, "for(let i=0;i<5e4;i++)queueMicrotask(()=>{throw new Error('e'+i)})"),
    ("titles", Contain, "for(let i=0;i<1e4;i++)document.title='t'.repeat(1000)+i"),
    ("cookies", Contain, "for(let i=0;i<1e4;i++)document.cookie='c'+i+'='+'x'.repeat(3000)"),
    ("storage", Contain, "try{for(let i=0;;i++)localStorage.setItem(i,'x'.repeat(1<<19))}catch{}"),
    (
        "storage-caches",
        Contain,
        "(async()=>{const c=await caches.open('c');for(let i=0;i<60;i++)await c.put('/'+i,new Response(new Uint8Array(32<<20)))})().catch(()=>0)",
    ),
    (
        "storage-files",
        Contain,
        "(async()=>{const d=await navigator.storage.getDirectory();for(let i=0;i<60;i++){const h=await d.getFileHandle('f'+i,{create:true}),w=await h.createWritable();await w.write(new Uint8Array(32<<20));await w.close()}})().catch(()=>0)",
    ),
    (
        "channels",
        Contain,
        "const c=new BroadcastChannel('x'),d=new BroadcastChannel('x');d.onmessage=e=>d.postMessage(e.data+e.data);c.onmessage=e=>c.postMessage(e.data);c.postMessage('x')",
    ),
    // Lies to the farm's own scripts.
    (
        "host-replaced",
        Contain,
        "window.__hf={duration:1,seek(){}};for(const n of Object.getOwnPropertyNames(window).filter(n=>/hyperfarm/i.test(n)))try{window[n]=null;delete window[n]}catch{}",
    ),
    (
        "host-prototypes",
        Contain,
        "Object.prototype.toJSON=function(){return 'x'.repeat(1e6)};Array.prototype.push=function(){throw 1};",
    ),
    ("host-promises", Contain, "window.Promise=class{then(){}};"),
    ("host-json", Contain, "JSON.stringify=()=>'x'.repeat(1<<28)"),
    (
        "host-answers",
        Contain,
        "window.__hf={get duration(){return {valueOf(){return 1}}},seek(){return 'x'.repeat(1<<28)}}",
    ),
    (
        "host-long-duration",
        Fail(&["DURATION_INVALID"]),
        "window.__hf={duration:1e300,seek(){}};document.getElementById('root').dataset.duration='1e300'",
    ),
    // Drawing.
    (
        "draw-blur",
        Contain,
        "document.body.innerHTML='<div style=\"width:20000px;height:20000px;filter:blur(900px);background:red\">x</div>'.repeat(30)",
    ),
    (
        "draw-shadows",
        Contain,
        "document.getElementById('root').style.boxShadow=Array(2000).fill('0 0 500px red').join()",
    ),
    (
        "draw-text",
        Contain,
        "const p=document.createElement('p');p.textContent='\\u0645\\u0301'.repeat(2e6);document.body.append(p)",
    ),
    (
        "draw-shader",
        Contain,
        "const g=document.createElement('canvas').getContext('webgl');if(g){const s=g.createShader(g.FRAGMENT_SHADER);g.shaderSource(s,'precision highp float;void main(){float x=0.;'+'x=sin(x)+cos(x);'.repeat(2e4)+'gl_FragColor=vec4(x);}');g.compileShader(s)}",
    ),
    (
        "draw-svg",
        Contain,
        "document.body.innerHTML='<svg><g id=a><circle r=9 /></g>'+Array.from({length:20},(_,i)=>`<g id=${'b'+i}>`+`<use href=#${i?'b'+(i-1):'a'} />`.repeat(4)+'</g>').join('')+'</svg>'",
    ),
];
