// Generated from the instruction table (isa/src/table.rs); a test keeps this file current.
// Each row: its opcode or register group, its operands as a packed struct, and a function that takes them from a word.

// A package offers more than one unit uses.
/* verilator lint_off UNUSEDPARAM */
/* verilator lint_off UNUSEDSIGNAL */
package isa_pkg;

  // halt: Ends the image: waits until every unit is idle and the code queue is refilled from the warm entry, then sets all semaphores to 0.
  localparam logic [3:0] OP_HALT = 4'd1;

  // sync: Takes its waits and gives its posts `repeat` times, without work; with posts it first waits until its unit's pipe is empty, so that it cannot overtake what it announces.
  localparam logic [3:0] OP_SYNC = 4'd2;
  typedef struct packed {
    logic [2:0] unit;
    logic [15:0] repeat_;
    logic [15:0] wait_;
    logic [15:0] post;
  } sync_t;
  function automatic sync_t sync(input logic [127:0] word);
    sync = {word[6:4], word[54:39], word[22:7], word[38:23]};
  endfunction

  // ld: Loads: each step moves `ld.src.bytes` from DRAM to a memory, or packs one image row.
  localparam logic [3:0] OP_LD = 4'd4;
  typedef struct packed {
    logic [15:0] repeat_;
    logic [15:0] wait_;
    logic [15:0] post;
    logic resume;
  } ld_t;
  function automatic ld_t ld(input logic [127:0] word);
    ld = {word[54:39], word[22:7], word[38:23], word[55:55]};
  endfunction

  // mac: Computes: each step fills one accumulator bank with one tile of the array.
  localparam logic [3:0] OP_MAC = 4'd5;
  typedef struct packed {
    logic [15:0] repeat_;
    logic [15:0] wait_;
    logic [15:0] post;
    logic resume;
  } mac_t;
  function automatic mac_t mac(input logic [127:0] word);
    mac = {word[54:39], word[22:7], word[38:23], word[55:55]};
  endfunction

  // thr: Thresholds: each step drains one accumulator bank through the threshold unit and the max-pool unit into a word buffer; a complete word is written to the activation memory.
  localparam logic [3:0] OP_THR = 4'd6;
  typedef struct packed {
    logic [15:0] repeat_;
    logic [15:0] wait_;
    logic [15:0] post;
    logic resume;
  } thr_t;
  function automatic thr_t thr(input logic [127:0] word);
    thr = {word[54:39], word[22:7], word[38:23], word[55:55]};
  endfunction

  // st: Stores: each step moves `st.map.words` words of the activation memory to DRAM.
  localparam logic [3:0] OP_ST = 4'd7;
  typedef struct packed {
    logic [15:0] repeat_;
    logic [15:0] wait_;
    logic [15:0] post;
    logic resume;
  } st_t;
  function automatic st_t st(input logic [127:0] word);
    st = {word[54:39], word[22:7], word[38:23], word[55:55]};
  endfunction

  // cfg ld.src: Source of LD: a step reads `bytes` bytes from `dram + done` on, done being the bytes of the steps since the generator started.
  localparam logic [4:0] GROUP_LD_SRC = 5'd0;
  typedef struct packed {
    logic [31:0] dram;
    logic [23:0] bytes;
  } ld_src_t;
  function automatic ld_src_t ld_src(input logic [127:0] word);
    ld_src = {word[43:12], word[67:44]};
  endfunction

  // cfg ld.dst: Destination of LD: word i of the region goes to bank `bank + i mod span`, address `base + i div span`; `pack` sends each step's bytes as one image row through the packer instead (ld.row, ld.map).
  localparam logic [4:0] GROUP_LD_DST = 5'd1;
  localparam logic [1:0] LD_DST_MEMORY_ACT = 2'd0;
  localparam logic [1:0] LD_DST_MEMORY_WGT = 2'd1;
  localparam logic [1:0] LD_DST_MEMORY_THR = 2'd2;
  localparam logic [1:0] LD_DST_MEMORY_PACK = 2'd3;
  typedef struct packed {
    logic [1:0] memory;
    logic [19:0] base;
    logic [9:0] bank;
    logic [9:0] span;
  } ld_dst_t;
  function automatic ld_dst_t ld_dst(input logic [127:0] word);
    ld_dst = {word[13:12], word[33:14], word[43:34], word[53:44]};
  endfunction

  // cfg ld.row: The packer's view of one image row: window x of the row gathers `taps` neighbouring pixels of `channels` bytes, from pixel `x * step - left` on, into the words of one packed pixel.
  localparam logic [4:0] GROUP_LD_ROW = 5'd2;
  typedef struct packed {
    logic [11:0] width;
    logic [11:0] channels;
    logic [11:0] windows;
    logic [3:0] step;
    logic [11:0] taps;
    logic [5:0] left;
    logic [7:0] xor_;
    logic [7:0] pad;
  } ld_row_t;
  function automatic ld_row_t ld_row(input logic [127:0] word);
    ld_row = {word[23:12], word[35:24], word[47:36], word[51:48], word[63:52], word[69:64], word[77:70], word[85:78]};
  endfunction

  // cfg ld.map: Where packed pixels go: row y (the step's number), window x to phase (y mod s_y, x mod s_x), index `(y div s_y) * pitch + x div s_x`, bank index mod rows.
  localparam logic [4:0] GROUP_LD_MAP = 5'd3;
  typedef struct packed {
    logic [3:0] s_y;
    logic [3:0] s_x;
    logic [19:0] phase;
    logic [11:0] pitch;
    logic [13:0] block;
  } ld_map_t;
  function automatic ld_map_t ld_map(input logic [127:0] word);
    ld_map = {word[15:12], word[19:16], word[39:20], word[51:40], word[65:52]};
  endfunction

  // cfg mac.shape: What a MAC step computes: kernel, precision, pooling positions.
  localparam logic [4:0] GROUP_MAC_SHAPE = 5'd0;
  localparam logic [1:0] MAC_SHAPE_KIND_UNSIGNED = 2'd0;
  localparam logic [1:0] MAC_SHAPE_KIND_BIPOLAR = 2'd1;
  localparam logic [1:0] MAC_SHAPE_KIND_SIGNED = 2'd2;
  typedef struct packed {
    logic [3:0] a;
    logic [3:0] w;
    logic signed_;
    logic byte_;
    logic add;
    logic [1:0] kind;
    logic [9:0] words;
    logic [6:0] k_y;
    logic [6:0] k_x;
    logic [3:0] pool_y;
    logic [3:0] pool_x;
    logic [5:0] step_y;
    logic [5:0] step_x;
    logic [9:0] tail;
    logic [7:0] pad;
  } mac_shape_t;
  function automatic mac_shape_t mac_shape(input logic [127:0] word);
    mac_shape = {word[15:12], word[19:16], word[20:20], word[21:21], word[22:22], word[24:23], word[34:25], word[41:35], word[48:42], word[52:49], word[56:53], word[62:57], word[68:63], word[78:69], word[86:79]};
  endfunction

  // cfg mac.act: The map a MAC step reads: row r of window tile T computes the output of index g = T * rows + r, at (g div pitch, g mod pitch); outputs outside `out` are masked.
  localparam logic [4:0] GROUP_MAC_ACT = 5'd1;
  typedef struct packed {
    logic [19:0] base;
    logic [13:0] block;
    logic [9:0] plane;
    logic [11:0] pitch;
    logic [11:0] out_y;
    logic [11:0] out_x;
  } mac_act_t;
  function automatic mac_act_t mac_act(input logic [127:0] word);
    mac_act = {word[31:12], word[45:32], word[55:46], word[67:56], word[79:68], word[91:80]};
  endfunction

  // cfg mac.wgt: The weights a MAC step reads, in every column's bank: `base + tile * n + plane * j + k` for channel tile n, weight plane j (most significant first) and word k of the kernel.
  localparam logic [4:0] GROUP_MAC_WGT = 5'd2;
  typedef struct packed {
    logic [19:0] base;
    logic [19:0] tile;
    logic [15:0] plane;
    logic [9:0] tiles;
    logic [9:0] last;
  } mac_wgt_t;
  function automatic mac_wgt_t mac_wgt(input logic [127:0] word);
    mac_wgt = {word[31:12], word[51:32], word[67:52], word[77:68], word[87:78]};
  endfunction

  // cfg mac.ytap: Two entries of the vertical tap table.
  localparam logic [4:0] GROUP_MAC_YTAP = 5'd3;
  typedef struct packed {
    logic [4:0] index;
    logic signed [19:0] t0_offset;
    logic [7:0] t0_remainder;
    logic [11:0] t0_first;
    logic [11:0] t0_last;
    logic signed [19:0] t1_offset;
    logic [7:0] t1_remainder;
    logic [11:0] t1_first;
    logic [11:0] t1_last;
  } mac_ytap_t;
  function automatic mac_ytap_t mac_ytap(input logic [127:0] word);
    mac_ytap = {word[16:12], word[36:17], word[44:37], word[56:45], word[68:57], word[88:69], word[96:89], word[108:97], word[120:109]};
  endfunction

  // cfg mac.xtap: Two entries of the horizontal tap table.
  localparam logic [4:0] GROUP_MAC_XTAP = 5'd4;
  typedef struct packed {
    logic [4:0] index;
    logic signed [19:0] t0_offset;
    logic [7:0] t0_remainder;
    logic [11:0] t0_first;
    logic [11:0] t0_last;
    logic signed [19:0] t1_offset;
    logic [7:0] t1_remainder;
    logic [11:0] t1_first;
    logic [11:0] t1_last;
  } mac_xtap_t;
  function automatic mac_xtap_t mac_xtap(input logic [127:0] word);
    mac_xtap = {word[16:12], word[36:17], word[44:37], word[56:45], word[68:57], word[88:69], word[96:89], word[108:97], word[120:109]};
  endfunction

  // cfg thr.mode: What a THR step makes of an accumulator: the threshold unit's mode, the planes of a code, the pooling window.
  localparam logic [4:0] GROUP_THR_MODE = 5'd0;
  localparam logic [1:0] THR_MODE_KIND_RAW = 2'd0;
  localparam logic [1:0] THR_MODE_KIND_LINEAR = 2'd1;
  localparam logic [1:0] THR_MODE_KIND_TABLE = 2'd2;
  typedef struct packed {
    logic [1:0] kind;
    logic [5:0] bits;
    logic [3:0] fraction;
    logic bipolar;
    logic signed_;
    logic masked;
    logic [3:0] pool_y;
    logic [3:0] pool_x;
  } thr_mode_t;
  function automatic thr_mode_t thr_mode(input logic [127:0] word);
    thr_mode = {word[13:12], word[19:14], word[23:20], word[24:24], word[25:25], word[26:26], word[30:27], word[34:31]};
  endfunction

  // cfg thr.table: Entries of the threshold memory and the order of tiles: column group g of channel tile n reads from `base + tile * n + (entries of a group) * g`, one entry for linear, 2^bits - 1 for table.
  localparam logic [4:0] GROUP_THR_TABLE = 5'd1;
  typedef struct packed {
    logic [19:0] base;
    logic [19:0] tile;
    logic [9:0] tiles;
    logic [9:0] last;
    logic [11:0] pitch;
    logic [11:0] out_y;
    logic [11:0] out_x;
  } thr_table_t;
  function automatic thr_table_t thr_table(input logic [127:0] word);
    thr_table = {word[31:12], word[51:32], word[61:52], word[71:62], word[83:72], word[95:84], word[107:96]};
  endfunction

  // cfg pool.dst: Where the codes go: output (y, x) to phase (y mod s_y, x mod s_x), index `(y div s_y) * pitch + x div s_x`, bank index mod rows.
  localparam logic [4:0] GROUP_POOL_DST = 5'd2;
  typedef struct packed {
    logic [19:0] base;
    logic [13:0] block;
    logic [9:0] plane;
    logic [3:0] s_y;
    logic [3:0] s_x;
    logic [19:0] phase;
    logic [11:0] pitch;
  } pool_dst_t;
  function automatic pool_dst_t pool_dst(input logic [127:0] word);
    pool_dst = {word[31:12], word[45:32], word[55:46], word[59:56], word[63:60], word[83:64], word[95:84]};
  endfunction

  // cfg pool.y: Four vertical pooling positions: output rows for which position 4 * index + i lies inside the map.
  localparam logic [4:0] GROUP_POOL_Y = 5'd3;
  typedef struct packed {
    logic [1:0] index;
    logic [11:0] p0_first;
    logic [11:0] p0_last;
    logic [11:0] p1_first;
    logic [11:0] p1_last;
    logic [11:0] p2_first;
    logic [11:0] p2_last;
    logic [11:0] p3_first;
    logic [11:0] p3_last;
  } pool_y_t;
  function automatic pool_y_t pool_y(input logic [127:0] word);
    pool_y = {word[13:12], word[25:14], word[37:26], word[49:38], word[61:50], word[73:62], word[85:74], word[97:86], word[109:98]};
  endfunction

  // cfg pool.x: Four horizontal pooling positions: output columns for which position 4 * index + i lies inside the map.
  localparam logic [4:0] GROUP_POOL_X = 5'd4;
  typedef struct packed {
    logic [1:0] index;
    logic [11:0] p0_first;
    logic [11:0] p0_last;
    logic [11:0] p1_first;
    logic [11:0] p1_last;
    logic [11:0] p2_first;
    logic [11:0] p2_last;
    logic [11:0] p3_first;
    logic [11:0] p3_last;
  } pool_x_t;
  function automatic pool_x_t pool_x(input logic [127:0] word);
    pool_x = {word[13:12], word[25:14], word[37:26], word[49:38], word[61:50], word[73:62], word[85:74], word[97:86], word[109:98]};
  endfunction

  // cfg st.map: What ST reads and where it goes: step n takes `words` words of bank (bank + n) mod rows from address `base + ((bank + n) div rows) * block` to `dram + n * pitch`.
  localparam logic [4:0] GROUP_ST_MAP = 5'd0;
  typedef struct packed {
    logic [19:0] base;
    logic [7:0] bank;
    logic [11:0] words;
    logic [13:0] block;
    logic [31:0] dram;
    logic [19:0] pitch;
  } st_map_t;
  function automatic st_map_t st_map(input logic [127:0] word);
    st_map = {word[31:12], word[39:32], word[51:40], word[65:52], word[97:66], word[117:98]};
  endfunction

  localparam logic [3:0] OP_CFG = 4'd3;

  // Whether a word is the encoding of any row, with every operand in its range.
  function automatic logic defined(input logic [127:0] word);
    defined = 1'b0;
    if ((word & 128'hf) == 128'h1 && (word & 128'hfffffffffffffffffffffffffffffff0) == 128'h0) defined = 1'b1;
    if ((word & 128'hf) == 128'h2 && (word & 128'hffffffffffffffffff80000000000000) == 128'h0
        && word[6:4] <= 3'd3
        && word[54:39] >= 16'd1) defined = 1'b1;
    if ((word & 128'h7f) == 128'h4 && (word & 128'hffffffffffffffffff00000000000000) == 128'h0
        && word[54:39] >= 16'd1) defined = 1'b1;
    if ((word & 128'h7f) == 128'h15 && (word & 128'hffffffffffffffffff00000000000000) == 128'h0
        && word[54:39] >= 16'd1) defined = 1'b1;
    if ((word & 128'h7f) == 128'h26 && (word & 128'hffffffffffffffffff00000000000000) == 128'h0
        && word[54:39] >= 16'd1) defined = 1'b1;
    if ((word & 128'h7f) == 128'h37 && (word & 128'hffffffffffffffffff00000000000000) == 128'h0
        && word[54:39] >= 16'd1) defined = 1'b1;
    if ((word & 128'hfff) == 128'h3 && (word & 128'hfffffffffffffff00000000000000000) == 128'h0
        && word[67:44] >= 24'd1) defined = 1'b1;
    if ((word & 128'hfff) == 128'h83 && (word & 128'hffffffffffffffffffc0000000000000) == 128'h0
        && word[53:44] >= 10'd1) defined = 1'b1;
    if ((word & 128'hfff) == 128'h103 && (word & 128'hffffffffffc000000000000000000000) == 128'h0
        && word[23:12] >= 12'd1
        && word[35:24] >= 12'd1
        && word[47:36] >= 12'd1
        && word[51:48] >= 4'd1
        && word[63:52] >= 12'd1) defined = 1'b1;
    if ((word & 128'hfff) == 128'h183 && (word & 128'hfffffffffffffffc0000000000000000) == 128'h0
        && word[15:12] >= 4'd1
        && word[19:16] >= 4'd1
        && word[51:40] >= 12'd1) defined = 1'b1;
    if ((word & 128'hfff) == 128'h13 && (word & 128'hffffffffff8000000000000000000000) == 128'h0
        && word[15:12] >= 4'd1
        && word[15:12] <= 4'd8
        && word[19:16] >= 4'd1
        && word[19:16] <= 4'd8
        && word[24:23] <= 2'd2
        && word[34:25] >= 10'd1
        && word[41:35] >= 7'd1
        && word[48:42] >= 7'd1
        && word[52:49] >= 4'd1
        && word[56:53] >= 4'd1
        && word[78:69] >= 10'd1) defined = 1'b1;
    if ((word & 128'hfff) == 128'h93 && (word & 128'hfffffffff00000000000000000000000) == 128'h0
        && word[67:56] >= 12'd1
        && word[79:68] >= 12'd1
        && word[91:80] >= 12'd1) defined = 1'b1;
    if ((word & 128'hfff) == 128'h113 && (word & 128'hffffffffff0000000000000000000000) == 128'h0
        && word[77:68] >= 10'd1
        && word[87:78] >= 10'd1) defined = 1'b1;
    if ((word & 128'hfff) == 128'h193 && (word & 128'hfe000000000000000000000000000000) == 128'h0) defined = 1'b1;
    if ((word & 128'hfff) == 128'h213 && (word & 128'hfe000000000000000000000000000000) == 128'h0) defined = 1'b1;
    if ((word & 128'hfff) == 128'h23 && (word & 128'hfffffffffffffffffffffff800000000) == 128'h0
        && word[13:12] <= 2'd2
        && word[19:14] >= 6'd1
        && word[19:14] <= 6'd32
        && word[30:27] >= 4'd1
        && word[34:31] >= 4'd1) defined = 1'b1;
    if ((word & 128'hfff) == 128'ha3 && (word & 128'hfffff000000000000000000000000000) == 128'h0
        && word[61:52] >= 10'd1
        && word[71:62] >= 10'd1
        && word[83:72] >= 12'd1
        && word[95:84] >= 12'd1
        && word[107:96] >= 12'd1) defined = 1'b1;
    if ((word & 128'hfff) == 128'h123 && (word & 128'hffffffff000000000000000000000000) == 128'h0
        && word[59:56] >= 4'd1
        && word[63:60] >= 4'd1
        && word[95:84] >= 12'd1) defined = 1'b1;
    if ((word & 128'hfff) == 128'h1a3 && (word & 128'hffffc000000000000000000000000000) == 128'h0) defined = 1'b1;
    if ((word & 128'hfff) == 128'h223 && (word & 128'hffffc000000000000000000000000000) == 128'h0) defined = 1'b1;
    if ((word & 128'hfff) == 128'h33 && (word & 128'hffc00000000000000000000000000000) == 128'h0
        && word[51:40] >= 12'd1) defined = 1'b1;
  endfunction
endpackage
/* verilator lint_on UNUSEDSIGNAL */
/* verilator lint_on UNUSEDPARAM */
