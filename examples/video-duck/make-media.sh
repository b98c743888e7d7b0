#!/bin/sh
# Makes the three kinds of media of this example from nothing but arithmetic:
# hills at dusk, eight seconds of chords, and two murmurs in the shape of speech.
# The results are in the repository; this script is how to make them again.
#
#   examples/video-duck/make-media.sh [FOLDER]
#
# Needs the ffmpeg command with libx264 and its own AAC encoder.
set -eu

here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
out=${1:-$here/media}
mkdir -p "$out"
ff() { ffmpeg -hide_banner -loglevel error -y "$@"; }

# --- hills.mp4 -------------------------------------------------------------
# Drawn at 640x360 and doubled: the shapes are soft, and the filter is slow.

# Height of ridge $1, counted from the far one: slow far away, quick up close.
ridge() {
  echo "H*(0.44+0.115*$1)+H*(0.035+0.012*$1)*sin(X/W*(3.1+1.1*$1)+T*(0.10+0.17*$1)+$1*1.7)+H*(0.010+0.004*$1)*sin(X/W*(9+3.3*$1)+T*(0.26+0.30*$1)+$1*2.3)"
}

# One colour channel: sky top, sky bottom, sun, then the five ridges.
channel() {
  top=$1 low=$2 sun=$3
  shift 3
  sky="st(0,$top+($low-$top)*pow(clip(Y/(H*0.62),0,1),1.2))"
  far="st(1,hypot(X-W*(0.70-T*0.006),Y-H*(0.30+T*0.012)))"
  glow="st(0,ld(0)+($sun-ld(0))*(0.55*exp(-ld(1)/(H*0.20))))"
  disc="st(0,ld(0)+($sun-ld(0))*clip((H*0.105-ld(1))/1.4,0,1))"
  expr="$sky;$far;$glow;$disc"
  k=0
  for colour in "$@"; do
    # A little of the sky's light in every hollow, for depth.
    expr="$expr;st(2,$(ridge $k));st(3,clip((Y-ld(2))/1.2,0,1))"
    expr="$expr;st(0,ld(0)+($colour*(1.16-0.34*clip((Y-ld(2))/(H*0.22),0,1))-ld(0))*ld(3))"
    k=$((k + 1))
  done
  echo "$expr;clip(ld(0),0,255)"
}
red=$(channel 112 250 255 214 190 140 88 44)
green=$(channel 160 212 240 150 110 74 50 30)
blue=$(channel 178 166 200 130 104 90 78 58)

ff -f lavfi -i "nullsrc=size=640x360:rate=30:duration=6" \
  -vf "format=gbrp,geq=r='$red':g='$green':b='$blue',scale=1280:720:flags=bicubic,noise=alls=2:allf=t,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p" \
  -c:v libx264 -preset veryslow -crf 25 -g 60 \
  -colorspace bt709 -color_primaries bt709 -color_trc bt709 -color_range tv \
  -movflags +faststart -map_metadata -1 -fflags +bitexact "$out/hills.mp4"

# --- music.m4a -------------------------------------------------------------
# A minor, F, C, G: two seconds each. An arpeggio in eighths over a pad and a bass.
chord="floor(mod(t,8)/2)"
root="if(eq($chord,0),110,if(eq($chord,1),87.307,if(eq($chord,2),130.813,97.999)))"
third="if(eq($chord,0),1.189207,1.259921)"
step="mod(floor(t*4),8)"
note="if(eq($step,0),2,if(eq($step,1)+eq($step,7),3,if(eq($step,2)+eq($step,6),4,if(eq($step,4),6,4*$third))))"
u="mod(t,0.25)"
pluck="(1-exp(-260*$u))*exp(-7*$u)*(1-pow($u/0.25,10))"
string="(sin(2*PI*$u*($root)*($note))+0.35*sin(4*PI*$u*($root)*($note))+0.12*sin(6*PI*$u*($root)*($note)))"
v="mod(t,2)"
hold="sqrt(sin(PI*clip($v/2,0,1)))"
pad="(sin(2*PI*t*($root)*2)+sin(2*PI*t*($root)*2*($third))+sin(2*PI*t*($root)*3)+0.6*sin(2*PI*t*($root)*4.006))"
bass="(1-exp(-90*$v))*exp(-0.9*$v)*(1-pow($v/2,16))*sin(2*PI*$v*($root)/if(gt($root,100),2,1))"
left="0.30*$pluck*$string+0.055*$hold*$pad+0.30*$bass"
right="0.26*$pluck*$string+0.060*$hold*$pad+0.30*$bass"
ff -f lavfi -i "aevalsrc=exprs='$left|$right':sample_rate=48000:duration=8" \
  -af "aecho=0.9:0.75:187|375:0.28|0.2,lowpass=f=6500,alimiter=limit=0.8:level=0,atrim=0:8" \
  -c:a aac -b:a 128k -map_metadata -1 -fflags +bitexact -movflags +faststart "$out/music.m4a"

# --- voice-a.m4a, voice-b.m4a ----------------------------------------------
# A buzz at the pitch of a low voice, through the formants of two vowels that
# take turns, in syllables.
voice() {
  name=$1 length=$2 pitch=$3 rate=$4
  tune="($pitch*t+1.6*sin(2*PI*0.55*t)+0.35*sin(2*PI*1.9*t)-3*t*t)"
  ff -f lavfi -i "aevalsrc=exprs='0.5*(2*mod($tune,1)-1)+0.02*(random(0)-0.5)':sample_rate=48000:duration=$length" \
    -filter_complex "
      [0:a]asplit=6[a][b][c][d][e][f];
      [a]bandpass=f=720:width_type=h:w=130[a1];
      [b]bandpass=f=1120:width_type=h:w=150,volume=0.7[b1];
      [c]bandpass=f=2480:width_type=h:w=220,volume=0.35[c1];
      [a1][b1][c1]amix=inputs=3:normalize=0,volume='0.5+0.5*sin(2*PI*$rate*0.5*t)':eval=frame[open];
      [d]bandpass=f=340:width_type=h:w=90[d1];
      [e]bandpass=f=1980:width_type=h:w=180,volume=0.6[e1];
      [f]bandpass=f=2850:width_type=h:w=240,volume=0.35[f1];
      [d1][e1][f1]amix=inputs=3:normalize=0,volume='0.5-0.5*sin(2*PI*$rate*0.5*t)':eval=frame[close];
      [open][close]amix=inputs=2:normalize=0,
      volume='pow(abs(sin(PI*$rate*t)),0.7)*(0.75+0.25*sin(2*PI*0.8*t))*min(1,t/0.03)*min(1,max(0,($length-t)/0.06))':eval=frame,
      volume=3.4,lowpass=f=5200,alimiter=limit=0.85:level=0[out]" \
    -map "[out]" -ac 1 -c:a aac -b:a 80k -map_metadata -1 -fflags +bitexact -movflags +faststart "$out/$name.m4a"
}
voice voice-a 1.9 128 4.2
voice voice-b 1.6 118 4.4
