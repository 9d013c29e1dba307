; Where is the stroke: at the top, at the bottom, at the left or at the right of an image of 4x4 pixels?
; A whole network, small enough to follow by hand, that shows how the machine wants to be programmed:
;
;   image 1x4x4, bytes
;     -> stroke   3x3 convolution with zero padding, weights -1 and +1, 3 channels; codes of 2 bits; 2x2 max pool
;     -> hidden 3x2x2, codes 0 to 3
;     -> where    dense, 12 -> 4, weights of 2 bits (-2 to 1), raw accumulators
;     -> 4 scores
;
; isa/MANUAL.md explains every operand, assembler/SYNTAX.md the language. Try
;
;   qnnsim asm programs/hello.qasm -o hello.bin
;   qnnsim run hello.bin --trace

.program "hello"

; 4 rows: four output pixels at a time. 4 columns: four output channels at a time. 32 lanes: a word is 32 bits, in DRAM
; 4 bytes. The code queue holds the whole program, so that the next image need not wait for code.
.hardware (mac: (rows: 4, cols: 4, lanes: 32), fetch: (words: 64))

.const SIZE  4                            ; height and width of the image
.const HALF  SIZE/2                       ; after pooling by 2

; The activation memory has one bank a row of the array. Each map is a few words in every bank:
.const IMAGE  0                           ; 4 phases of one word
.const HIDDEN 4                           ; 2 planes of one word
.const SCORES 6                           ; 6 planes of one word
.const PLANES 6                           ; scores are -18 to 6: 6 bits in two's complement hold -32 to 31

; Units run side by side, each through its own queue in order. Only semaphores order one unit against another: what one
; posts, another waits for. A semaphore counts, and only one unit may take from it.
.semaphore weights 0                      ; LOAD -> MAC: the weights of one more layer are there (cold only)
.semaphore entries 1                      ; LOAD -> THR: the thresholds are there (cold only)
.semaphore rows    2                      ; LOAD -> MAC: one more image row is packed
.semaphore full    3                      ; MAC -> THR: one more accumulator bank is filled
.semaphore free    4                      ; THR -> MAC: one more accumulator bank is empty
.semaphore map     5                      ; THR -> MAC: the hidden map is complete
.semaphore scores  6                      ; THR -> STORE: the scores are complete

.input  (name: "image", shape: (channels: 1, height: 4, width: 4))
.output (name: "scores", shape: (channels: 4, height: 1, width: 1), code: (bits: 6, signed: true),
         classes: ["top", "bottom", "left", "right"])

; For the report, and for whoever wants to look at the hidden map; the machine does not need it.
.layer stroke (summary: "3x3 convolution, 1 -> 3 channels, 2 bits, 2x2 max pool", macs: 432, precision: (8, 1),
               map: (shape: (channels: 3, height: 2, width: 2), code: (bits: 2, signed: false),
                     layout: (base: 4, block: 2, plane: 1, s: (1, 1), phase: 0, pitch: 2)))
.layer where  (summary: "dense, 12 -> 4, raw", macs: 48, precision: (2, 2))

; ---- loading -------------------------------------------------------------------------------------------------------
;
; There are two streams of code. The first image runs the cold one, every other the warm one: it finds weights and
; thresholds in their memories. What stands under `.code` goes to both streams, what stands under `.cold` only to the
; cold one. Nothing else differs, so each piece of loading stands where it is needed, behind what can begin earlier.

.cold
.layer stroke
  ; A step reads `bytes` from DRAM; its words are dealt out over `span` banks, here to the columns 0, 1, 2, 0, 1, 2, ...
  cfg ld.src dram=stroke_weights bytes=9*4
  cfg ld.dst memory=wgt base=0 span=3
  ld post=weights                         ; posts when the words are written
  ; The threshold memory has a bank for each of the 2 columns that drain at a time: column 2 follows in bank 0.
  cfg ld.src dram=stroke_entries bytes=3*16
  cfg ld.dst memory=thr base=0 span=2
  ld post=entries

.code
.layer stroke
  ; The image goes through the packer: pixel x becomes one word of its three neighbours x-1, x, x+1, with pixels outside
  ; the row as `pad`. So the horizontal half of the kernel lies in the lanes, and a 3x3 kernel becomes 3x1.
  cfg ld.src dram=INPUT bytes=SIZE        ; a step is one image row
  cfg ld.dst memory=pack base=IMAGE
  cfg ld.row width=SIZE windows=SIZE taps=3 left=1 pad=0
  ; The next layer steps through the image by 2 (its pooling), so even and odd rows and columns are kept apart: pixel
  ; (y, x) goes to phase (y mod 2, x mod 2), one word after the other, with index q = (y div 2) * 2 + x div 2 in it.
  ; Index q lies in bank q mod 4, block q div 4. Here a phase has 4 pixels: a word in every bank, one block.
  cfg ld.map s=2x2 phase=1 pitch=HALF block=1
  ld x(SIZE) post=rows                    ; four steps, and `rows` counts to four

.cold
.layer where
  ; Waits for nothing, so it runs while the array is busy with the first layer. It posts to the same semaphore: LOAD
  ; works in order, so the second count that MAC takes stands for these weights.
  cfg ld.src dram=where_weights bytes=32*4
  cfg ld.dst memory=wgt base=3 span=4
  ld post=weights

; ---- stroke: the array ---------------------------------------------------------------------------------------------

.code
.layer stroke
  ; Nobody has said yet that the two accumulator banks are empty. All semaphores are 0 at the start of an image.
  sync thr x2 post=free

  ; Byte mode: lane l counts 2^(l mod 8), so that a word of pixels meets a word of weights in one cycle. `tail` are the
  ; lanes in use: three bytes of four. With bipolar weights a set bit is +1 and a clear bit -1.
  ; Max pooling is part of the loop: a step computes the convolution at one of the 2x2 places of every pooling window.
  cfg mac.shape a=8 byte w=1 kind=bipolar words=1 k=3x1 pool=2x2 step=1x1 tail=24 pad=0
  ; Array row r computes the pooled output of index g = r: (g div pitch, g mod pitch).
  cfg mac.act base=IMAGE block=1 pitch=HALF out=(HALF)x(HALF)
  ; Kernel row ky of column c is the word at address ky of weight bank c. One channel tile, of 3 columns.
  cfg mac.wgt base=0 last=3
  ; Where a tap lies. For output oy, place py and kernel row ky, image row y = 2 * oy + t with t = py + ky - 1: table
  ; entry py * step + ky = t + 1. In phase t mod 2 it has, relative to the output's own index g, a constant distance
  ; (t div 2) * pitch, of which each full 4 (rows of the array) is a block and the rest the remainder:
  ;   t = -1: phase 1, distance -2 = -1 block + 2. Offset 1 * 2 phases of one word - 1 block = 1. Inside for oy >= 1.
  ;   t =  0: phase 0, distance  0. Offset 0.
  ;   t =  1: phase 1, distance  0. Offset 2.
  ;   t =  2: phase 0, distance +2 =  0 blocks + 2. Offset 0. Inside for oy <= 0.
  ; Row r reads bank (r + remainder) mod 4, one block further if r + remainder >= 4. For t = -1 row 2 (oy = 1, ox = 0)
  ; thus reads bank 0 at address 1 + 1 = 2: phase (1, 0), index 0, which is pixel (1, 0). Outside its interval a tap
  ; contributes `pad` instead.
  cfg mac.ytap index=0 t0=1+2:[1,HALF-1] t1=0+0:[0,HALF-1]
  cfg mac.ytap index=1 t0=2+0:[0,HALF-1] t1=0+2:[0,HALF-2]
  ; Horizontally only the place px is left: phase 0 or phase 1, always inside.
  cfg mac.xtap index=0 t0=0+0:[0,HALF-1] t1=1+0:[0,HALF-1]
.cold
.layer stroke
  sync mac wait=weights
.code
.layer stroke
  sync mac x(SIZE) wait=rows              ; one from each image row: the whole image is there
  ; A step for each place of the windows. It takes an empty bank, the next in turn, and posts when the bank is written.
  mac x4 wait=free post=full

; ---- stroke: the threshold unit ------------------------------------------------------------------------------------

  ; Linear: code = floor((v - A) / B) within 0 and 3, with v = 2 * acc - row sum because the weights are bipolar.
  ; The loops are those of MAC; of each window the largest code is kept.
  cfg thr.mode kind=linear bits=2 bipolar pool=2x2
  cfg thr.table base=0 last=3 pitch=HALF out=(HALF)x(HALF)
  ; The dense layer reads the map with stride 1: a single phase. A pixel takes two words in its bank, a plane each.
  cfg pool.dst base=HIDDEN block=2 plane=1 pitch=HALF
.cold
.layer stroke
  sync thr wait=entries
.code
.layer stroke
  ; `free` is posted early, while the drain is still reading: MAC's next step writes the bank only after that.
  thr x4 wait=full post=free
  ; That says nothing about the map. SYNC waits until the pipe is empty, its writes made, and then announces it.
  sync thr post=map

; ---- where ---------------------------------------------------------------------------------------------------------

.layer where
  ; CFG runs ahead of the step in progress: each MAC and THR keeps the registers that it started with.
  ; A dense layer is a kernel as large as the map. Activations and weights of 2 bits: 2 x 2 pairs of planes a word.
  cfg mac.shape a=2 w=2 kind=signed words=1 k=2x2 tail=3
  ; One output, (0, 0) of row 0; rows 1 to 3 are masked. The pitch is the map's.
  cfg mac.act base=HIDDEN block=2 plane=1 pitch=HALF out=1x1
  cfg mac.wgt base=3 plane=4 last=4       ; four words (ky, kx) of the upper plane, then four of the lower
  cfg mac.ytap index=0 t0=0+0:[0,0] t1=0+2:[0,0]    ; the row below has its index 2 further
  cfg mac.xtap index=0 t0=0+0:[0,0] t1=0+1:[0,0]    ; the pixel to the right 1
.cold
.layer where
  sync mac wait=weights
.code
.layer where
  sync mac wait=map
  mac wait=free post=full                 ; the banks go on in turn from layer to layer, and so does `free`

  ; Raw: the accumulator itself, as a map of 6 planes.
  cfg thr.mode kind=raw bits=PLANES
  cfg thr.table last=4 pitch=HALF out=1x1
  cfg pool.dst base=SCORES block=PLANES plane=1 pitch=1
  thr wait=full post=free
  sync thr post=scores

  ; One pixel: 6 words of bank 0, from the most significant plane on. The host puts the integers together.
  cfg st.map base=SCORES words=PLANES block=PLANES dram=OUTPUT pitch=PLANES*4
  sync st wait=scores
  st
  halt                                    ; waits for all units, and fetches the warm stream for the next image

; ---- data ----------------------------------------------------------------------------------------------------------

; Three kernels. In byte mode the bit of a weight fills its byte: 0xff is +1, 0x00 is -1. The lowest byte meets the left
; pixel.
;   horizontal     vertical       bright
;   -1 -1 -1       -1 +1 -1       +1 +1 +1
;   +1 +1 +1       -1 +1 -1       +1 +1 +1
;   -1 -1 -1       -1 +1 -1       +1 +1 +1
.data stroke_weights                      ; a kernel row a line: word i goes to column i mod 3, address i div 3
  .word 0x000000, 0x00ff00, 0xffffff
  .word 0xffffff, 0x00ff00, 0xffffff
  .word 0x000000, 0x00ff00, 0xffffff

.data stroke_entries
  .threshold 0, 100                       ; horizontal: 1 from 100 on, 2 from 200, 3 from 300
  .threshold 0, 20                        ; vertical: 1 from 20 on, 2 from 40, 3 from 60
  .threshold -300, -100                   ; negative B: falls. dark = floor((300 - v) / 100): 3 at 0, 2 to 100, 1 to 200

; A stroke on the right side speaks for a class once and on the wrong side twice against it; darkness on the right side
; speaks against it. With codes h, v, d of the hidden map at (y, x):
;   top    =     h00 +   h01 - 2 h10 - 2 h11 - d00 - d01
;   bottom = - 2 h00 - 2 h01 +   h10 +   h11 - d10 - d11
;   left   =     v00 - 2 v01 +   v10 - 2 v11 - d00 - d10
;   right  = - 2 v00 +   v01 - 2 v10 +   v11 - d01 - d11
; Lane 0 is h, lane 1 is v, lane 2 is d: the last, middle and first digit. Two's complement of 1, 0, -1, -2 is
; 01, 00, 11, 10.
.data where_weights                       ; a tap (0,0), (0,1), (1,0), (1,1) a line; top, bottom, left, right
  .word 0b100, 0b001, 0b100, 0b010        ; the upper bits
  .word 0b100, 0b001, 0b010, 0b100
  .word 0b001, 0b100, 0b100, 0b010
  .word 0b001, 0b100, 0b010, 0b100
  .word 0b101, 0b000, 0b110, 0b000        ; the lower bits
  .word 0b101, 0b000, 0b000, 0b110
  .word 0b000, 0b101, 0b110, 0b000
  .word 0b000, 0b101, 0b000, 0b110

; A seven, drawn with a heavy top. By hand, with rows and columns outside the image as 0:
;
;   image             sums of three in a row    sums of three in a column
;   100 120 110  90   220 330 320 200           100 120 130 170
;     0   0  20  80     0  20 100 100           100 120 200 180
;     0   0  70  10     0  70  80  80             0  60 110  90
;     0  60  20   0    60  80  80  20             0  60  90  10
;
;   bright: sums of   horizontal: twice the     vertical: twice the
;   3x3               row's sum - bright        column's sum - bright
;   220 350 420 300    220  310  220  100        -20 -110 -160   40
;   220 420 500 380   -220 -380 -300 -180        -20 -180 -100  -20
;    60 170 260 200    -60  -30 -100  -40        -60  -50  -40  -20
;    60 150 160 100     60   10    0  -60        -60  -30   20  -80
;
;   dark, code d      horizontal, code h        vertical, code v
;   0 0 | 0 0         2 3 | 2 1                 0 0 | 0 2
;   0 0 | 0 0         0 0 | 0 0                 0 0 | 0 0
;   ----+----         ----+----                 ----+----
;   2 1 | 0 1         0 0 | 0 0                 0 0 | 0 0
;   2 1 | 1 2         0 0 | 0 0                 0 0 | 1 0
;
;   pooled  0 0       pooled  3 2               pooled  0 2
;           2 2               0 0                       0 1
;
;   top    = 3 + 2 - 0 - 0 - 0 - 0 =   5        left  = 0 - 4 + 0 - 2 - 0 - 2 = -8
;   bottom = -6 - 4 + 0 + 0 - 2 - 2 = -14       right = 0 + 2 - 0 + 1 - 0 - 2 =  1
.sample
  .u8 100, 120, 110, 90
  .u8   0,   0,  20, 80
  .u8   0,   0,  70, 10
  .u8   0,  60,  20,  0
