// MAC's control: its registers and tap tables, the tile of each step, and cycle by cycle the planes and words of the kernel
// with their addresses. A step begins to read in the cycle in which it issues.
module mac #(
    parameter int unsigned MAC_ROWS = 16,
    parameter int unsigned MAC_COLS = 16,
    parameter int unsigned MAC_LANES = 64,
    parameter int unsigned MAC_DEPTH = 4,
    parameter int unsigned MAC_TAPS = 32,
    parameter int unsigned ACC_BANKS = 2,
    parameter int unsigned ACT_WORDS = 512,
    parameter int unsigned WGT_WORDS = 2048,
    localparam int unsigned BANK = machine_pkg::index_bits(ACC_BANKS),
    localparam int unsigned ROW = machine_pkg::index_bits(MAC_ROWS)
) (
    input  logic                   clk,
    input  logic                   clear,
    // From the sequencer.
    input  logic                   configure,
    input  logic [127:0]           configure_word,
    input  logic                   step,
    input  logic                   step_first,
    input  logic                   step_resume,
    input  logic [15:0]            step_post,
    output logic                   issue,
    output logic                   stage_free,
    output logic                   pipe_empty,
    output logic [15:0]            post,
    // The read port of the activation memory is free for MAC.
    input  logic                   port_free,
    output logic [MAC_ROWS-1:0]    act_read,
    output logic [20*MAC_ROWS-1:0] act_address,
    output logic [MAC_COLS-1:0]    wgt_read,
    output logic [19:0]            wgt_address,
    // To the array, with the words read in the cycle before.
    output logic                   array_valid,
    output logic [ROW-1:0]         array_rotation,
    output logic [MAC_ROWS-1:0]    array_row_used,
    output logic [MAC_ROWS-1:0]    array_row_inside,
    output logic [7:0]             array_pad,
    output logic [9:0]             array_lanes,
    output logic [9:0]             array_columns,
    output logic                   array_byte_mode,
    output logic                   array_byte_signed,
    output logic                   array_start,
    output logic                   array_shift,
    output logic                   array_negate,
    output logic                   array_sum_valid,
    output logic                   array_sum_shift,
    output logic                   array_sum_negate,
    output logic                   array_last,
    output logic                   array_add,
    output logic [BANK-1:0]        array_bank,
    // Last cycle of a step.
    output logic                   last,
    output logic [2:0]             fault_cause
);
  // ---- Registers: the shadow is configured, the active copy belongs to the running instruction ----

  typedef struct packed {
    logic signed [19:0] offset;
    logic [7:0]         remainder;
    logic [11:0]        first;
    logic [11:0]        last;
  } tap_t;

  isa_pkg::mac_shape_t shadow_shape, active_shape, shape;
  isa_pkg::mac_act_t   shadow_act, active_act, act;
  isa_pkg::mac_wgt_t   shadow_wgt, active_wgt, wgt;
  logic                shape_set, act_set, wgt_set;

  isa_pkg::mac_ytap_t taps;  // Both groups have the same fields.
  logic [4:0]         group;
  logic               taps_legal, tap_group;
  assign taps = isa_pkg::mac_ytap(configure_word);
  assign group = configure_word[11:7];
  assign taps_legal = 32'(taps.index) * 2 < MAC_TAPS
                   && 32'(taps.t0_remainder) < MAC_ROWS && 32'(taps.t1_remainder) < MAC_ROWS;
  assign tap_group = group == isa_pkg::GROUP_MAC_YTAP || group == isa_pkg::GROUP_MAC_XTAP;

  always_ff @(posedge clk) begin
    if (configure) begin
      if (group == isa_pkg::GROUP_MAC_SHAPE) begin
        shadow_shape <= isa_pkg::mac_shape(configure_word);
        shape_set <= 1'b1;
      end
      if (group == isa_pkg::GROUP_MAC_ACT) begin
        shadow_act <= isa_pkg::mac_act(configure_word);
        act_set <= 1'b1;
      end
      if (group == isa_pkg::GROUP_MAC_WGT) begin
        shadow_wgt <= isa_pkg::mac_wgt(configure_word);
        wgt_set <= 1'b1;
      end
    end
    if (issue && step_first) begin
      active_shape <= shadow_shape;
      active_act <= shadow_act;
      active_wgt <= shadow_wgt;
    end
    if (clear) begin
      shape_set <= 1'b0;
      act_set <= 1'b0;
      wgt_set <= 1'b0;
    end
  end

  // The registers of this cycle: of the running step, or of the step that may issue.
  logic busy, from_shadow;
  assign from_shadow = !busy && step_first;
  assign shape = from_shadow ? shadow_shape : active_shape;
  assign act = from_shadow ? shadow_act : active_act;
  assign wgt = from_shadow ? shadow_wgt : active_wgt;

  // ---- The tile of the step ----

  logic        counted, restart, columns_fit, beyond;
  logic [3:0]  position_y, position_x;
  logic [9:0]  tile, columns;
  logic [23:0] window;
  logic [12:0] first_y;
  logic [11:0] first_x;
  assign restart = !busy && step_first && !step_resume;

  /* verilator lint_off PINCONNECTEMPTY */  // Which part of a word of channels a tile is matters to THR alone.
  tile_counter #(.MAC_ROWS(MAC_ROWS), .MAC_COLS(MAC_COLS), .MAC_LANES(MAC_LANES)) tile_counter (
      .clk, .clear, .pool_y(shape.pool_y), .pool_x(shape.pool_x), .tiles(wgt.tiles), .last_columns(wgt.last),
      .pitch(act.pitch), .out_y(act.out_y), .out_x(act.out_x), .restart, .hold(busy || shape.add), .issue, .counted,
      .position_y, .position_x, .tile, .in_word(), .window, .first_y, .first_x, .columns, .columns_fit, .beyond
  );
  /* verilator lint_on PINCONNECTEMPTY */

  logic [MAC_ROWS-1:0]    row_used;
  logic [13*MAC_ROWS-1:0] row_y;
  logic [12*MAC_ROWS-1:0] row_x;
  row_coordinates #(.MAC_ROWS(MAC_ROWS)) row_coordinates (
      .first_y, .first_x, .pitch(act.pitch), .out_y(act.out_y), .out_x(act.out_x), .y(row_y), .x(row_x), .used(row_used)
  );

  // ---- The loops of a step: wavefronts of planes, most significant first; within, the words of the kernel ----

  logic [3:0]  wave;              // Number of both planes together; 0 is the most significant.
  logic [2:0]  plane_a, plane_w;
  logic [6:0]  ky, kx;
  logic [9:0]  word;
  logic [23:0] k;                 // Number of the word within the kernel.
  logic [3:0]  planes_a;
  assign planes_a = shape.byte_ ? 4'd1 : shape.a;

  logic word_last, kx_last, ky_last, k_last, wave_turn, step_last;
  assign word_last = word == shape.words - 10'd1;
  assign kx_last = kx == shape.k_x - 7'd1;
  assign ky_last = ky == shape.k_y - 7'd1;
  assign k_last = word_last && kx_last && ky_last;
  assign wave_turn = plane_w == '0 || 4'(plane_a) == planes_a - 4'd1;
  assign step_last = k_last && wave_turn && 5'(wave) == 5'(planes_a) + 5'(shape.w) - 5'd2;

  logic active;
  assign active = busy || issue;
  assign last = active && step_last;

  // The first pair of planes of the next wavefront: as many of the weights as they have, the rest of the activations.
  logic [3:0] wave_next;
  logic [2:0] plane_a_first, plane_w_first;
  assign wave_next = wave + 4'd1;
  assign plane_a_first = wave_next > shape.w - 4'd1 ? 3'(wave_next - (shape.w - 4'd1)) : '0;
  assign plane_w_first = 3'(wave_next - 4'(plane_a_first));

  always_ff @(posedge clk) begin
    if (active) begin
      busy <= !step_last;
      word <= word_last ? '0 : word + 10'd1;
      k <= k_last ? '0 : k + 24'd1;
      if (word_last) kx <= kx_last ? '0 : kx + 7'd1;
      if (word_last && kx_last) ky <= ky_last ? '0 : ky + 7'd1;
      if (k_last) begin
        plane_a <= wave_turn ? plane_a_first : plane_a + 3'd1;
        plane_w <= wave_turn ? plane_w_first : plane_w - 3'd1;
        if (wave_turn) wave <= wave_next;
      end
    end
    if (clear || last) begin
      busy <= 1'b0;
      wave <= '0;
      plane_a <= '0;
      plane_w <= '0;
      ky <= '0;
      kx <= '0;
      word <= '0;
      k <= '0;
    end
  end

  // ---- Addresses ----

  logic [10:0] y_entry, x_entry;
  assign y_entry = 11'(position_y) * 11'(shape.step_y) + 11'(ky);
  assign x_entry = 11'(position_x) * 11'(shape.step_x) + 11'(kx);

  // Two taps are configured together.
  localparam int unsigned PAIRS = MAC_TAPS / 2;
  localparam int unsigned PAIR = machine_pkg::index_bits(PAIRS);
  tap_t             tap_y, tap_x, y_even, y_odd, x_even, x_odd;
  logic             taps_write;
  logic [PAIRS-1:0] y_set, x_set;
  assign taps_write = configure && 32'(taps.index) < PAIRS;
  register_table #(.WIDTH(2 * $bits(y_even)), .WORDS(PAIRS)) y_taps (
      .clk, .clear, .write(taps_write && group == isa_pkg::GROUP_MAC_YTAP), .write_index(PAIR'(taps.index)),
      .write_data({taps.t1_offset, taps.t1_remainder, taps.t1_first, taps.t1_last,
                   taps.t0_offset, taps.t0_remainder, taps.t0_first, taps.t0_last}),
      .take(issue && step_first), .read_shadow(from_shadow), .read_index(PAIR'(y_entry >> 1)),
      .read_data({y_odd, y_even}), .set(y_set)
  );
  register_table #(.WIDTH(2 * $bits(y_even)), .WORDS(PAIRS)) x_taps (
      .clk, .clear, .write(taps_write && group == isa_pkg::GROUP_MAC_XTAP), .write_index(PAIR'(taps.index)),
      .write_data({taps.t1_offset, taps.t1_remainder, taps.t1_first, taps.t1_last,
                   taps.t0_offset, taps.t0_remainder, taps.t0_first, taps.t0_last}),
      .take(issue && step_first), .read_shadow(from_shadow), .read_index(PAIR'(x_entry >> 1)),
      .read_data({x_odd, x_even}), .set(x_set)
  );
  assign tap_y = y_entry[0] ? y_odd : y_even;
  assign tap_x = x_entry[0] ? x_odd : x_even;

  // All rows share one offset; banks below the remainder hold the next block.
  logic [8:0]         sum, remainder;
  logic               carry;
  logic [23:0]        block;
  logic signed [43:0] address, address_next;
  logic               address_outside, address_next_outside;
  assign sum = 9'(tap_y.remainder) + 9'(tap_x.remainder);
  assign carry = 32'(sum) >= MAC_ROWS;
  assign block = window + 24'(carry);
  assign remainder = carry ? sum - 9'(MAC_ROWS) : sum;
  assign address = 44'(act.base) + {{24{tap_y.offset[19]}}, tap_y.offset} + {{24{tap_x.offset[19]}}, tap_x.offset}
                 + 44'(block) * 44'(act.block) + 44'(plane_a) * 44'(act.plane) + 44'(word);
  assign address_next = address + 44'(act.block);
  assign address_outside = address < 0 || address >= 44'(ACT_WORDS);
  assign address_next_outside = address_next < 0 || address_next >= 44'(ACT_WORDS);

  // Which rows read, and from which bank: row r from (r + remainder) mod rows.
  logic [MAC_ROWS-1:0] row_inside;
  logic                act_outside;
  always_comb begin
    act_read = '0;
    act_address = '0;
    act_outside = 1'b0;
    for (int unsigned r = 0; r < MAC_ROWS; r++) begin
      row_inside[r] = row_y[13*r+:13] >= 13'(tap_y.first) && row_y[13*r+:13] <= 13'(tap_y.last)
                   && row_x[12*r+:12] >= tap_x.first && row_x[12*r+:12] <= tap_x.last;
    end
    for (int unsigned b = 0; b < MAC_ROWS; b++) begin
      logic           next;
      logic [ROW-1:0] row;
      next = b < 32'(remainder);
      row = ROW'((next ? b + MAC_ROWS : b) - 32'(remainder));
      act_read[b] = active && row_used[row] && row_inside[row];
      act_address[20*b+:20] = next ? address_next[19:0] : address[19:0];
      if (act_read[b] && (next ? address_next_outside : address_outside)) begin
        act_read[b] = 1'b0;
        act_outside = 1'b1;
      end
    end
  end

  logic [39:0] weight;
  logic        wgt_outside;
  assign weight = 40'(wgt.base) + 40'(tile) * 40'(wgt.tile) + 40'(plane_w) * 40'(wgt.plane) + 40'(k);
  assign wgt_outside = active && weight >= 40'(WGT_WORDS);
  assign wgt_address = weight[19:0];
  assign wgt_read = active && !wgt_outside ? ~({MAC_COLS{1'b1}} << columns) : '0;

  // ---- Issue ----

  logic ready, unconfigured, illegal, outside;
  assign ready = step && !busy && port_free;

  // Every tap of the kernel at this position must have been configured.
  function automatic logic missing(input logic [PAIRS-1:0] set, input logic [10:0] low, input logic [6:0] count);
    logic [11:0]         high;
    logic [MAC_TAPS-1:0] all, taps_set;
    high = 12'(low) + 12'(count);
    all = '1;
    for (int unsigned i = 0; i < MAC_TAPS; i++) taps_set[i] = set[i/2];
    missing = high > 12'(MAC_TAPS) || ((all << low[6:0]) & ~(all << high[6:0]) & ~taps_set) != '0;
  endfunction

  logic loops_changed;
  assign loops_changed = step_first && !restart && counted && (shape.pool_y != active_shape.pool_y
      || shape.pool_x != active_shape.pool_x || wgt.tiles != active_wgt.tiles || act.pitch != active_act.pitch);
  assign unconfigured = !loops_changed && (!shape_set || !act_set || !wgt_set
                     || missing(y_set, y_entry, shape.k_y) || missing(x_set, x_entry, shape.k_x));
  assign illegal = loops_changed || beyond || !columns_fit
                || (shape.kind == isa_pkg::MAC_SHAPE_KIND_SIGNED) == (shape.w == 4'd1)
                || (shape.byte_ && (shape.a != 4'd8 || shape.tail[2:0] != '0)) || 32'(shape.tail) > MAC_LANES;
  assign issue = ready && !unconfigured && !illegal;

  // An address beyond its memory is told in the last cycle of the step.
  assign outside = act_outside || wgt_outside;
  logic outside_before;
  always_comb begin
    fault_cause = machine_pkg::FAULT_NONE;
    if (configure && tap_group && !taps_legal) fault_cause = machine_pkg::FAULT_ILLEGAL;
    if (ready && illegal) fault_cause = machine_pkg::FAULT_ILLEGAL;
    if (ready && unconfigured) fault_cause = machine_pkg::FAULT_UNCONFIGURED;
    if (last && (outside || (busy && outside_before))) fault_cause = machine_pkg::FAULT_RANGE;
  end
  always_ff @(posedge clk) if (active) outside_before <= outside || (busy && outside_before);

  // ---- Behind the issue: banks in turn, and the posts at the end of the pipeline ----

  logic [BANK-1:0] fill, filled;
  logic [15:0]     running_post;
  always_ff @(posedge clk) begin
    if (issue) begin
      running_post <= step_post;
      if (!shape.add) begin
        filled <= fill;
        fill <= 32'(fill) == ACC_BANKS - 1 ? '0 : fill + BANK'(1);
      end
    end
    if (clear) begin
      fill <= '0;
      filled <= BANK'(ACC_BANKS - 1);
    end
  end

  logic [MAC_DEPTH-1:0] pipe;
  logic [15:0]          posts[MAC_DEPTH];
  always_ff @(posedge clk) begin
    for (int unsigned i = 0; i < MAC_DEPTH; i++) begin
      pipe[i] <= i == 0 ? last : pipe[i-1];
      posts[i] <= i == 0 ? (busy ? running_post : step_post) : posts[i-1];
    end
    if (clear) pipe <= '0;
  end
  assign post = pipe[MAC_DEPTH-1] ? posts[MAC_DEPTH-1] : '0;
  assign stage_free = !busy;
  assign pipe_empty = !busy && pipe == '0;

  // ---- To the array, with the words ----

  always_ff @(posedge clk) begin
    array_valid <= active && !clear;
    array_rotation <= ROW'(remainder);
    array_row_used <= row_used;
    array_row_inside <= row_inside;
    array_pad <= shape.byte_ ? shape.pad : {8{shape.pad[3'(shape.a-4'd1)-plane_a]}};
    array_lanes <= word_last ? shape.tail : 10'(MAC_LANES);
    array_columns <= columns;
    array_byte_mode <= shape.byte_;
    array_byte_signed <= shape.byte_ && shape.signed_;
    array_start <= k == '0 && wave == '0;
    array_shift <= k == '0 && wave != '0 && (plane_a == '0 || 4'(plane_w) == shape.w - 4'd1);
    array_negate <= (shape.signed_ && !shape.byte_ && plane_a == '0)
                 ^ (shape.kind == isa_pkg::MAC_SHAPE_KIND_SIGNED && plane_w == '0);
    array_sum_valid <= active && plane_w == '0;
    array_sum_shift <= k == '0 && plane_a != '0;
    array_sum_negate <= shape.signed_ && !shape.byte_ && plane_a == '0;
    array_last <= last;
    array_add <= shape.add;
    array_bank <= busy ? filled : shape.add ? filled : fill;
    if (clear) array_last <= 1'b0;
  end
endmodule
