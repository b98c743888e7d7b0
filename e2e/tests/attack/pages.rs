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
    // Never answers, at load, at a frame, at the end.
    ("never-seek-promise", Contain, "window.__hf={duration:1,seek(){return new Promise(()=>{})}}"),
    ("never-wait-seek", Contain, "window.__hfWaitForSeekCompletion=()=>new Promise(()=>{})"),
    (
        "never-fontload",
        Contain,
        "document.fonts.load=()=>new Promise(()=>{});Object.defineProperty(document.fonts,'ready',{get:()=>new Promise(()=>{})})",
    ),
    (
        "never-decode",
        Contain,
        "HTMLImageElement.prototype.decode=()=>new Promise(()=>{});document.body.append(Object.assign(new Image,{src:'data:image/gif;base64,R0lGODlhAQABAAAAACw='}))",
    ),
    ("never-fetch", Contain, "const f=()=>fetch('index.html?'+Math.random()).then(f);for(let i=0;i<50;i++)f()"),
    (
        "never-atomics",
        Contain,
        "new Worker(URL.createObjectURL(new Blob(['Atomics.wait(new Int32Array(new SharedArrayBuffer(4)),0,0)'])))",
    ),
    (
        "never-worker-message",
        Contain,
        "const w=new Worker(URL.createObjectURL(new Blob(['onmessage=()=>{for(;;);}'])));window.__hf={duration:1,seek(t){w.postMessage(t)}}",
    ),
    (
        "unload-loop",
        Contain,
        "addEventListener('pagehide',()=>{for(;;);});addEventListener('beforeunload',e=>{e.preventDefault();e.returnValue='x';for(;;);});addEventListener('visibilitychange',()=>{for(;;);})",
    ),
    (
        "unload-keepalive",
        Contain,
        "addEventListener('pagehide',()=>{for(let i=0;i<1e5;i++)navigator.sendBeacon('/x'+i,'y'.repeat(6e4))})",
    ),
    // Exceptions of odd kinds.
    (
        "seek-throws-odd",
        Contain,
        "window.__hf={duration:1,seek(t){if(t>.3)throw {toString(){for(;;);},get message(){for(;;);},get stack(){for(;;);}}}}",
    ),
    ("seek-throws-null", Contain, "window.__hf={duration:1,seek(t){if(t>.3)throw null}}"),
    (
        "seek-throws-proxy",
        Contain,
        "window.__hf={duration:1,seek(t){if(t>.3)throw new Proxy(function(){},{get(){throw 1},has(){throw 2},getPrototypeOf(){throw 3}})}}",
    ),
    ("seek-throws-symbol", Contain, "window.__hf={duration:1,seek(t){if(t>.3)throw Symbol('s')}}"),
    ("seek-throws-huge", Contain, "window.__hf={duration:1,seek(t){if(t>.3)throw new Error('h'.repeat(1<<27))}}"),
    (
        "seek-throws-control",
        Contain,
        "window.__hf={duration:1,seek(t){if(t>.3)throw new Error('a\\u0000b\\u001b[31mred\\u202e\\u2028\\r\\nFAKE LOG LINE')}}",
    ),
    (
        "stack-limit",
        Contain,
        "Error.stackTraceLimit=Infinity;(function f(n){if(n)return f(n-1);for(let i=0;i<100;i++)console.error(new Error('deep'))})(5000)",
    ),
    (
        "stack-prepare",
        Contain,
        "Error.prepareStackTrace=()=>{for(;;);};setTimeout(()=>{throw new Error('x')},1);open('x')",
    ),
    (
        "stack-prepare-object",
        Contain,
        "Error.prepareStackTrace=()=>({split(){for(;;);}});open('/x');location.href='/y'",
    ),
    // Lies in prototypes and globals.
    ("lie-thenable", Contain, "Object.prototype.then=function(f){f('x'.repeat(1<<28))}"),
    (
        "lie-sound",
        Contain,
        "window.__hyperfarmSound={describe:()=>({elements:[{id:'a',hidden:false,effects:null,group:null}],groups:[],scripted:[]}),begin:()=>1e15,sample:()=>0}",
    ),
    ("lie-call", Contain, "Function.prototype.call=function(){throw new Error('no call')}"),
    ("lie-call-loop", Contain, "Function.prototype.call=function(){for(;;);}"),
    ("lie-apply", Contain, "Function.prototype.apply=function(){return undefined}"),
    ("lie-bind", Contain, "Function.prototype.bind=function(){return ()=>{}}"),
    ("lie-then", Contain, "Promise.prototype.then=function(){return this}"),
    ("lie-iterator", Contain, "Array.prototype[Symbol.iterator]=function*(){for(;;)yield 1}"),
    ("lie-map-get", Contain, "Map.prototype.get=()=>({});Map.prototype.values=function*(){for(;;)yield {}}"),
    (
        "lie-query",
        Contain,
        "document.querySelector=()=>null;document.querySelectorAll=()=>{throw 1};Document.prototype.querySelectorAll=()=>[{}]",
    ),
    (
        "lie-freeze",
        Contain,
        "Object.freeze(window.__hf);Object.freeze(document);Object.freeze(Object.prototype);Object.freeze(Array.prototype)",
    ),
    ("lie-performance", Contain, "Performance.prototype.now=()=>NaN;performance.now=()=>NaN"),
    (
        "lie-settimeout",
        Contain,
        "window.setTimeout=()=>0;window.requestAnimationFrame=()=>0;window.MessageChannel=null;window.Promise=undefined",
    ),
    (
        "lie-virtual",
        Contain,
        "try{window.__HF_VIRTUAL_TIME__.seekToTime=()=>{for(;;);};window.__HF_VIRTUAL_TIME__.notes=()=>Array(1e6).fill({code:'X'.repeat(1e3),message:'y'.repeat(1e3)})}catch{}",
    ),
    (
        "lie-notes",
        Contain,
        "try{for(let i=0;i<1000;i++)window.__HF_VIRTUAL_TIME__.note('CODE'+i,'\\u001b[31m'+'m'.repeat(1e6))}catch{}",
    ),
    (
        "lie-getter",
        Contain,
        "Object.defineProperty(window,'__hf',{get(){return {get duration(){return 1},seek(){}}},set(){}})",
    ),
    (
        "lie-hf-proxy",
        Contain,
        "window.__hf=new Proxy({},{get(t,k){return k==='duration'?1:k==='seek'?()=>{}:new Proxy(()=>{},this)}})",
    ),
    // Absurd lengths and numbers of things.
    ("lie-duration-neg", Contain, "window.__hf={duration:-1,seek(){}};root.dataset.duration='-1'"),
    ("lie-duration-nan", Contain, "window.__hf={duration:NaN,seek(){}};root.dataset.duration='NaN'"),
    ("lie-duration-inf", Contain, "window.__hf={duration:Infinity,seek(){}};root.dataset.duration='Infinity'"),
    ("lie-duration-tiny", Contain, "window.__hf={duration:5e-324,seek(){}};root.dataset.duration='5e-324'"),
    ("lie-duration-big", Contain, "window.__hf={duration:1e7,seek(){}};root.dataset.duration='1e7'"),
    ("lie-duration-object", Contain, "window.__hf={duration:{toString(){for(;;);}},seek(){}}"),
    ("lie-duration-moves", Contain, "let n=1;window.__hf={get duration(){return n+=.1},seek(){}}"),
    (
        "lie-compositions",
        Contain,
        "for(let i=0;i<5e4;i++){const d=document.createElement('div');d.dataset.compositionId='c'+i+'x'.repeat(200);root.append(d)};window.__timelines={}",
    ),
    (
        "lie-videos",
        Contain,
        "for(let i=0;i<3e4;i++){const v=document.createElement('video');v.src='v'+i+'.mp4';v.dataset.start='0';root.append(v)}",
    ),
    (
        "lie-audios",
        Contain,
        "for(let i=0;i<3e4;i++){const v=document.createElement('audio');v.src='a.mp3?'+'q'.repeat(500)+i;v.dataset.start='0';v.dataset.duration='1';root.append(v)}",
    ),
    (
        "lie-fonts",
        Contain,
        "for(let i=0;i<2e4;i++){const b=document.createElement('b');b.style.fontFamily='F'+i;b.textContent='x';root.append(b)}",
    ),
    (
        "lie-captions",
        Contain,
        "for(let i=0;i<3e4;i++){const b=document.createElement('b');b.className='caption';b.dataset.caption='1';b.dataset.start=i;b.dataset.end=i+1;b.textContent='c'.repeat(500);root.append(b)}",
    ),
    ("lie-missing-files", Contain, "for(let i=0;i<3e4;i++)new Image().src='m'+'n'.repeat(1000)+i+'.png'"),
    // More memory and processes.
    ("mem-sab", Contain, "k=[];for(;;)k.push(new Uint8Array(new SharedArrayBuffer(64<<20)).fill(1))"),
    ("mem-wasm-table", Contain, "k=[];for(;;)k.push(new WebAssembly.Table({element:'anyfunc',initial:9e6}))"),
    ("mem-bigint", Contain, "let x=2n**(2n**22n);for(;;)x*=x"),
    ("mem-rope", Contain, "let s='ab';for(let i=0;i<28;i++)s+=s;k=[];for(;;)k.push(JSON.stringify([s]))"),
    ("mem-imagedata", Contain, "k=[];for(;;)k.push(new ImageData(8192,8192))"),
    (
        "mem-webgl-buffers",
        Contain,
        "const g=document.createElement('canvas').getContext('webgl2');k=[];for(;;){const b=g.createBuffer();g.bindBuffer(g.ARRAY_BUFFER,b);g.bufferData(g.ARRAY_BUFFER,new Uint8Array(64<<20).fill(1),g.STATIC_DRAW);k.push(b);g.finish()}",
    ),
    (
        "mem-idb",
        Contain,
        "const o=indexedDB.open('x');o.onupgradeneeded=()=>o.result.createObjectStore('s');o.onsuccess=()=>{for(let i=0;i<200;i++)o.result.transaction('s','readwrite').objectStore('s').put(new Uint8Array(32<<20),i)}",
    ),
    (
        "mem-layers",
        Contain,
        "for(let i=0;i<3000;i++){const d=document.createElement('div');d.style.cssText='position:absolute;width:4000px;height:4000px;will-change:transform;background:#'+(i%9)+'23;opacity:.5';document.body.append(d)}",
    ),
    (
        "proc-iframes",
        Contain,
        "for(let i=0;i<60;i++){const f=document.createElement('iframe');f.sandbox='allow-scripts';f.srcdoc='<script>for(;;);</'+'script>';document.body.append(f)}",
    ),
    (
        "proc-workers",
        Contain,
        "for(let i=0;i<500;i++)new Worker(URL.createObjectURL(new Blob(['setInterval(()=>{},1)'])))",
    ),
    (
        "proc-worklets",
        Contain,
        "(async()=>{const u=URL.createObjectURL(new Blob(['registerProcessor(\"p\",class extends AudioWorkletProcessor{process(){for(;;);}})'],{type:'text/javascript'}));for(let i=0;i<30;i++){const c=new AudioContext;await c.audioWorklet.addModule(u);new AudioWorkletNode(c,'p').connect(c.destination)}})()",
    ),
    (
        "gpu-loop",
        Contain,
        "const g=document.createElement('canvas').getContext('webgl');const sh=(t,s)=>{const h=g.createShader(t);g.shaderSource(h,s);g.compileShader(h);return h};const q=g.createProgram();g.attachShader(q,sh(g.VERTEX_SHADER,'attribute vec2 a;void main(){gl_Position=vec4(a,0,1);}'));g.attachShader(q,sh(g.FRAGMENT_SHADER,'precision highp float;void main(){float x=0.;for(int i=0;i<100000000;i++){x+=sin(float(i));}gl_FragColor=vec4(x);}'));g.linkProgram(q);g.useProgram(q);g.bindBuffer(g.ARRAY_BUFFER,g.createBuffer());g.bufferData(g.ARRAY_BUFFER,new Float32Array([-1,-1,3,-1,-1,3]),g.STATIC_DRAW);g.enableVertexAttribArray(0);g.vertexAttribPointer(0,2,g.FLOAT,false,0,0);document.body.append(g.canvas);g.drawArrays(g.TRIANGLES,0,3);g.readPixels(0,0,1,1,g.RGBA,g.UNSIGNED_BYTE,new Uint8Array(4))",
    ),
    (
        "gpu-lose",
        Contain,
        "for(let i=0;i<40;i++){const g=document.createElement('canvas').getContext('webgl');g&&g.getExtension('WEBGL_lose_context')?.loseContext()}",
    ),
    // Sounds. Every project has a second of silence, `a.wav`.
    (
        "sound-curve",
        Contain,
        "root.innerHTML+=`<audio id=a src=a.wav data-start=0 data-automation='{\"version\":1,\"lanes\":[{\"target\":\"volume\",\"points\":[{\"t\":0,\"v\":0,\"curve\":0.5},{\"t\":1e9,\"v\":1}]}]}'></audio>`",
    ),
    (
        "sound-effects",
        Contain,
        "root.innerHTML+='<audio id=a src=a.wav data-start=0></audio>';document.getElementById('a').dataset.fxChain='{\"version\":1,\"nodes\":['+'{},'.repeat(4e6)+'{}]}'",
    ),
    (
        "sound-groups",
        Fail(&["PROJECT_TOO_COMPLEX"]),
        "root.dataset.duration='1200';for(let i=0;i<200;i++)root.innerHTML+=`<audio id=a${i} src=a.wav data-start=0 data-audio-group=g${i}></audio>`",
    ),
    (
        "sound-at-once",
        Fail(&["PROJECT_TOO_COMPLEX"]),
        "root.innerHTML+=Array.from({length:2000},(_,i)=>`<audio id=a${i} src=a.wav data-start=0></audio>`).join('')",
    ),
    // More floods.
    (
        "console-objects",
        Contain,
        "const o={};o.self=o;for(let i=0;i<500;i++)o['k'+i]=Array(1000).fill(o);for(let i=0;i<2000;i++)console.log(o,[o,o],new Map([[o,o]]),document)",
    ),
    (
        "console-function-names",
        Contain,
        "const n='f'.repeat(1<<25),o={[n]:()=>console.log('x')};for(let i=0;i<400;i++)o[n]()",
    ),
    (
        "console-script-names",
        Contain,
        "Error.stackTraceLimit=0;const t='throw 1//# sourceURL=http://x/'+'u'.repeat(1<<25);for(let i=0;i<100;i++){const s=document.createElement('script');s.textContent=t;document.body.append(s)}",
    ),
    (
        "console-contexts",
        Contain,
        "const c=console.context?.('c'.repeat(1<<20))??console;for(let i=0;i<1e4;i++){c.log('y'.repeat(1e5));console.time('t'.repeat(1e5));console.countReset('r'.repeat(1e5)+i)}",
    ),
    (
        "addresses-long",
        Contain,
        "const u='x'.repeat(1<<20);for(let i=0;i<500;i++){location.hash=u+i;history.replaceState(null,'','?'+u+i)}",
    ),
    ("console-proxy", Contain, "console.log(new Proxy({},{get(){for(;;);},ownKeys(){for(;;);}}))"),
    (
        "console-kinds",
        Contain,
        "for(let i=0;i<20000;i++){console.group('g'+i);console.count('c'+i);console.time('t'+i);console.table([[i]]);console.assert(0,i);console.trace(i);console.dir({i})}",
    ),
    ("rejections", Contain, "for(let i=0;i<1e5;i++)Promise.reject(new Error('r'+i))"),
    ("onerror-throws", Contain, "onerror=()=>{throw new Error('again')};setTimeout(()=>{throw 1},1)"),
    (
        "dialogs-at-seek",
        Contain,
        "window.__hf={duration:1,seek(){for(let i=0;i<100;i++){alert(i);confirm(i);prompt('p'.repeat(1e6))}}}",
    ),
    (
        "mutations",
        Contain,
        "new MutationObserver(()=>{document.body.append('x')}).observe(document.body,{childList:true});document.body.append('y')",
    ),
    ("resize-loop", Contain, "new ResizeObserver(()=>{root.style.width=(root.offsetWidth+1)+'px'}).observe(root)"),
    (
        "mutations-attributes",
        Contain,
        "const o=new MutationObserver(()=>{root.title=Math.random()});o.observe(root,{attributes:true});root.title='x'",
    ),
    (
        "dangerous-apis",
        Contain,
        "for(const f of [()=>navigator.usb?.requestDevice({filters:[]}),()=>navigator.credentials?.get({}),()=>navigator.mediaDevices?.getDisplayMedia(),()=>window.showOpenFilePicker?.(),()=>window.showDirectoryPicker?.(),()=>document.documentElement.requestFullscreen(),()=>document.body.requestPointerLock(),()=>navigator.share?.({text:'x'}),()=>navigator.clipboard?.readText(),()=>navigator.bluetooth?.requestDevice({acceptAllDevices:true}),()=>navigator.wakeLock?.request(),()=>speechSynthesis.speak(new SpeechSynthesisUtterance('x'.repeat(1e5))),()=>new PaymentRequest([{supportedMethods:'https://127.0.0.1:9901/pay'}],{total:{label:'x',amount:{currency:'EUR',value:'1'}}}).show(),()=>navigator.registerProtocolHandler('web+x','/?%s'),()=>navigator.serviceWorker?.register('data:text/javascript,'),()=>new Notification('x'),()=>navigator.requestMIDIAccess?.({sysex:true}),()=>window.queryLocalFonts?.(),()=>navigator.storage?.persist(),()=>document.requestStorageAccess?.(),()=>navigator.setAppBadge?.(9),()=>window.getScreenDetails?.(),()=>new IdleDetector().start(),()=>navigator.keyboard?.lock()])try{Promise.resolve(f()).catch(()=>0)}catch{}",
    ),
];
