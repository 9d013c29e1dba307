// THR's control. The drain reads an accumulator bank, a group of columns after the other, and steers the threshold units and
// the max-pool units. When a word of channels is complete the write stage stores it, an image row and a phase at a time.
module thr #(
    parameter int unsigned MAC_ROWS = 16,
    parameter int unsigned MAC_COLS = 16,
    parameter int unsigned MAC_LANES = 64,
    parameter int unsigned MAC_DEPTH = 4,
    parameter int unsigned ACC_BANKS = 2,
    parameter int unsigned ACT_WORDS = 512,
    parameter int unsigned THR_COLS = 8,
    parameter int unsigned THR_DEPTH = 2,
    parameter int unsigned THR_BUFFERS = 2,
    parameter int unsigned THR_WORDS = 512,
    localparam int unsigned BANK = machine_pkg::index_bits(ACC_BANKS),
    localparam int unsigned BUFFER = machine_pkg::index_bits(THR_BUFFERS),
    localparam int unsigned ROW = machine_pkg::index_bits(MAC_ROWS)
) (
    input  logic                   clk,
    input  logic                   clear,
    input  logic                   go,
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
    // The drain's reads: a group of columns of an accumulator bank, an entry for each of them.
    output logic                   drain,
    output logic [BANK-1:0]        drain_bank,
    output logic [8:0]             drain_group,
    output logic [THR_COLS-1:0]    thr_read,
    output logic [19:0]            thr_address,
    // To the threshold units, with what was read in the cycle before.
    output logic                   unit_valid,
    output logic [1:0]             unit_kind,
    output logic                   unit_bipolar,
    output logic                   unit_invert_top,
    output logic [3:0]             unit_fraction,
    output logic [5:0]             unit_bits,
    output logic                   unit_first,
    output logic [7:0]             unit_pass,
    output logic [5:0]             unit_plane,
    // To the max-pool units, THR_DEPTH - 1 cycles later.
    output logic                   pool_valid,
    output logic [5:0]             pool_plane,
    output logic [8:0]             pool_group,
    output logic [6:0]             pool_in_word,
    output logic [BUFFER-1:0]      pool_buffer,
    output logic                   pool_first,
    output logic                   pool_signed,
    output logic [MAC_ROWS-1:0]    pool_left_out,
    // The write stage: which plane and word of a buffer, and for each bank the row that it stores.
    input  logic                   port_free,
    output logic                   holds_port,
    output logic [BUFFER-1:0]      write_buffer,
    output logic [4:0]             write_plane,
    output logic [5:0]             write_word,
    output logic [9:0]             write_lanes,
    output logic [MAC_ROWS-1:0]    act_write,
    output logic [20*MAC_ROWS-1:0] act_address,
    output logic [ROW*MAC_ROWS-1:0] act_row,
    // First and last cycle of a write, last cycle of a drain; the issuing drain completes a word.
    output logic                   write_issue,
    output logic                   write_last,
    output logic                   drain_last,
    output logic                   completes,
    // A step is in the drain, behind it, or in the write stage.
    output logic                   moving,
    output logic [2:0]             fault_cause,
    output logic                   write_fault
);
  localparam int unsigned USED = machine_pkg::index_bits(THR_BUFFERS + 1);
  localparam int unsigned TILES_PER_WORD = (MAC_LANES + MAC_COLS - 1) / MAC_COLS;

  // ---- Registers ----

  isa_pkg::thr_mode_t  shadow_mode, active_mode, mode;
  isa_pkg::thr_table_t shadow_table, active_table, entries;
  isa_pkg::pool_dst_t  shadow_dst, active_dst, dst;
  logic                mode_set, table_set, dst_set;
  logic [3:0]          y_set, x_set;

  isa_pkg::pool_y_t intervals;  // Both groups have the same fields.
  logic [4:0]       group;
  assign intervals = isa_pkg::pool_y(configure_word);
  assign group = configure_word[11:7];

  always_ff @(posedge clk) begin
    if (configure) begin
      if (group == isa_pkg::GROUP_THR_MODE) begin
        shadow_mode <= isa_pkg::thr_mode(configure_word);
        mode_set <= 1'b1;
      end
      if (group == isa_pkg::GROUP_THR_TABLE) begin
        shadow_table <= isa_pkg::thr_table(configure_word);
        table_set <= 1'b1;
      end
      if (group == isa_pkg::GROUP_POOL_DST) begin
        shadow_dst <= isa_pkg::pool_dst(configure_word);
        dst_set <= 1'b1;
      end
    end
    if (issue && step_first) begin
      active_mode <= shadow_mode;
      active_table <= shadow_table;
      active_dst <= shadow_dst;
    end
    if (clear) begin
      mode_set <= 1'b0;
      table_set <= 1'b0;
      dst_set <= 1'b0;
    end
  end

  logic busy, from_shadow;
  assign from_shadow = !busy && step_first;
  assign mode = from_shadow ? shadow_mode : active_mode;
  assign entries = from_shadow ? shadow_table : active_table;
  assign dst = from_shadow ? shadow_dst : active_dst;

  logic is_raw, is_table;
  assign is_raw = mode.kind == isa_pkg::THR_MODE_KIND_RAW;
  assign is_table = mode.kind == isa_pkg::THR_MODE_KIND_TABLE;

  // ---- The tile of the step ----

  logic        counted, restart, columns_fit, beyond;
  logic [3:0]  position_y, position_x;
  logic [9:0]  tile, columns;
  logic [6:0]  in_word;
  logic [12:0] first_y;
  logic [11:0] first_x;
  assign restart = !busy && step_first && !step_resume;

  /* verilator lint_off PINCONNECTEMPTY */  // The number of a window tile matters to MAC alone.
  tile_counter #(.MAC_ROWS(MAC_ROWS), .MAC_COLS(MAC_COLS), .MAC_LANES(MAC_LANES)) tile_counter (
      .clk, .clear, .pool_y(mode.pool_y), .pool_x(mode.pool_x), .tiles(entries.tiles), .last_columns(entries.last),
      .pitch(entries.pitch), .out_y(entries.out_y), .out_x(entries.out_x), .restart, .hold(busy), .issue, .counted,
      .position_y, .position_x, .tile, .in_word, .window(), .first_y, .first_x, .columns, .columns_fit, .beyond
  );
  /* verilator lint_on PINCONNECTEMPTY */

  logic begins;
  assign begins = position_y == '0 && position_x == '0 && in_word == '0;
  assign completes = position_y == mode.pool_y - 4'd1 && position_x == mode.pool_x - 4'd1
                  && (32'(in_word) == TILES_PER_WORD - 1 || tile == entries.tiles - 10'd1);

  // Rows whose output leaves this position of the window out.
  logic [MAC_ROWS-1:0]    left_out, rows_used;
  logic [13*MAC_ROWS-1:0] rows_y;
  logic [12*MAC_ROWS-1:0] rows_x;
  logic [23:0]            interval_y, interval_x;
  row_coordinates #(.MAC_ROWS(MAC_ROWS)) rows (
      .first_y, .first_x, .pitch(entries.pitch), .out_y(entries.out_y), .out_x(entries.out_x),
      .y(rows_y), .x(rows_x), .used(rows_used)
  );

  // Four intervals are configured together.
  logic [95:0] written, intervals_y, intervals_x;
  assign written = {intervals.p3_first, intervals.p3_last, intervals.p2_first, intervals.p2_last,
                    intervals.p1_first, intervals.p1_last, intervals.p0_first, intervals.p0_last};
  register_table #(.WIDTH(96), .WORDS(4)) y_intervals (
      .clk, .clear, .write(configure && group == isa_pkg::GROUP_POOL_Y), .write_index(intervals.index),
      .write_data(written), .take(issue && step_first), .read_shadow(from_shadow), .read_index(position_y[3:2]),
      .read_data(intervals_y), .set(y_set)
  );
  register_table #(.WIDTH(96), .WORDS(4)) x_intervals (
      .clk, .clear, .write(configure && group == isa_pkg::GROUP_POOL_X), .write_index(intervals.index),
      .write_data(written), .take(issue && step_first), .read_shadow(from_shadow), .read_index(position_x[3:2]),
      .read_data(intervals_x), .set(x_set)
  );
  assign interval_y = intervals_y[24*position_y[1:0]+:24];
  assign interval_x = intervals_x[24*position_x[1:0]+:24];
  always_comb begin
    for (int unsigned r = 0; r < MAC_ROWS; r++) begin
      left_out[r] = mode.masked && rows_used[r]
          && (rows_y[13*r+:13] < 13'(interval_y[23:12]) || rows_y[13*r+:13] > 13'(interval_y[11:0])
              || rows_x[12*r+:12] < interval_x[23:12] || rows_x[12*r+:12] > interval_x[11:0]);
    end
  end

  // ---- The drain: groups of columns; within, a plane or a threshold a cycle ----

  logic [8:0]  column_group;
  logic [7:0]  pass;
  logic [5:0]  plane;
  logic [7:0]  passes;
  logic [9:0]  groups;
  logic        emit, pass_last, group_last, active;
  logic [17:0] left, duration;     // Cycles of the drain from this one on.
  assign passes = is_table ? 8'((9'd1 << mode.bits[3:0]) - 9'd1) : 8'(mode.bits);
  assign groups = 10'((32'(columns) + THR_COLS - 1) / THR_COLS);
  assign duration = 18'(groups) * 18'(passes);
  assign active = busy || issue;
  // A table has decided a bit when it has shown a whole level of its tree.
  assign emit = !is_table || 10'(pass) + 10'd2 == 10'd2 << plane;
  assign pass_last = pass == passes - 8'd1;
  assign group_last = 10'(column_group) == groups - 10'd1;
  assign drain_last = active && pass_last && group_last;

  always_ff @(posedge clk) begin
    if (active) begin
      busy <= !drain_last;
      pass <= pass_last ? '0 : pass + 8'd1;
      plane <= pass_last ? '0 : emit ? plane + 6'd1 : plane;
      if (pass_last) column_group <= group_last ? '0 : column_group + 9'd1;
      left <= (busy ? left : duration) - 18'd1;
    end
    if (clear || drain_last) begin
      busy <= 1'b0;
      pass <= '0;
      plane <= '0;
      column_group <= '0;
    end
  end

  // Posts are early: the array writes its bank at least MAC_DEPTH cycles after its issue.
  logic [15:0] running_post;
  logic        early;
  assign early = busy ? 32'(left) == MAC_DEPTH : issue && 32'(duration) <= MAC_DEPTH;
  assign post = early ? (busy ? running_post : step_post) : '0;
  always_ff @(posedge clk) if (issue) running_post <= step_post;

  // Banks in turn.
  logic [BANK-1:0] turn, running_bank;
  assign drain = active;
  assign drain_bank = busy ? running_bank : turn;
  assign drain_group = column_group;
  always_ff @(posedge clk) begin
    if (issue) begin
      running_bank <= turn;
      turn <= 32'(turn) == ACC_BANKS - 1 ? '0 : turn + BANK'(1);
    end
    if (clear) turn <= '0;
  end

  logic [39:0] entry;
  logic        entries_read, thr_outside;
  assign entry = 40'(entries.base) + 40'(tile) * 40'(entries.tile) + 40'(column_group) * (is_table ? 40'(passes) : 40'd1)
               + (is_table ? 40'(pass) : '0);
  assign entries_read = active && (is_table || (!is_raw && pass == '0));
  assign thr_outside = entries_read && entry >= 40'(THR_WORDS);
  assign thr_address = entry[19:0];
  always_comb begin
    for (int unsigned i = 0; i < THR_COLS; i++)
      thr_read[i] = entries_read && !thr_outside && 32'(column_group) * THR_COLS + i < 32'(columns);
  end

  // ---- Word buffers ----

  logic [BUFFER-1:0] next_buffer, open_buffer, buffer;
  logic [USED-1:0]   used, ready_words;
  logic              open, released;
  logic [5:0]        open_bits;
  assign buffer = busy || !begins ? open_buffer : next_buffer;
  assign released = write_last;

  always_ff @(posedge clk) begin
    if (issue) begin
      open <= !completes;
      open_bits <= mode.bits;
      if (begins) begin
        open_buffer <= next_buffer;
        next_buffer <= 32'(next_buffer) == THR_BUFFERS - 1 ? '0 : next_buffer + BUFFER'(1);
      end
    end
    used <= used + USED'(issue && begins) - USED'(released);
    if (clear) begin
      open <= 1'b0;
      used <= '0;
      next_buffer <= '0;
    end
  end

  // ---- Issue ----

  logic ready, unconfigured, illegal, loops_changed;
  assign ready = step && !busy;
  assign loops_changed = step_first && !restart && counted && (mode.pool_y != active_mode.pool_y
      || mode.pool_x != active_mode.pool_x || entries.tiles != active_table.tiles || entries.pitch != active_table.pitch);
  assign unconfigured = !loops_changed && (!mode_set || !table_set || !dst_set
                     || (mode.masked && (!y_set[position_y[3:2]] || !x_set[position_x[3:2]])));
  assign illegal = loops_changed || beyond || !columns_fit || (!is_raw && mode.bits > 6'd8)
                || begins == open || (open && open_bits != mode.bits);
  assign issue = ready && !unconfigured && !illegal && (!begins || 32'(used) < THR_BUFFERS);
  logic outside_before;
  always_ff @(posedge clk) if (active) outside_before <= thr_outside || (busy && outside_before);

  // ---- Behind the drain ----

  typedef struct packed {
    logic [5:0]          plane;
    logic [8:0]          group;
    logic [6:0]          in_word;
    logic [BUFFER-1:0]   buffer;
    logic                first;
    logic                is_signed;
    logic [MAC_ROWS-1:0] left_out;
  } pool_t;
  // Plain vectors: yosys takes an array of structs for a single one.
  pool_t                   pool;
  logic [$bits(pool)-1:0] pools[THR_DEPTH];
  logic [THR_DEPTH-1:0] emitting, pipe, completing;
  assign pool = pools[THR_DEPTH-1];

  always_ff @(posedge clk) begin
    unit_valid <= active && !clear;
    unit_kind <= mode.kind;
    unit_bipolar <= mode.bipolar;
    unit_invert_top <= mode.signed_ && !is_raw;
    unit_fraction <= mode.fraction;
    unit_bits <= mode.bits;
    unit_first <= pass == '0;
    unit_pass <= pass;
    unit_plane <= plane;
    for (int unsigned i = 0; i < THR_DEPTH; i++) begin
      pools[i] <= i != 0 ? pools[i-1] : {plane, column_group, in_word, buffer,
          position_y == '0 && position_x == '0, mode.signed_ || is_raw, left_out};
      emitting[i] <= i == 0 ? active && emit : emitting[i-1];
      pipe[i] <= i == 0 ? drain_last : pipe[i-1];
      completing[i] <= i == 0 ? drain_last && completes : completing[i-1];
    end
    if (clear) begin
      emitting <= '0;
      pipe <= '0;
      completing <= '0;
    end
  end
  assign pool_valid = emitting[THR_DEPTH-1];
  assign pool_plane = pool.plane;
  assign pool_group = pool.group;
  assign pool_in_word = pool.in_word;
  assign pool_buffer = pool.buffer;
  assign pool_first = pool.first;
  assign pool_signed = pool.is_signed;
  assign pool_left_out = pool.left_out;
  assign stage_free = !busy;

  // ---- The write stage ----

  // What a complete word needs of its drain.
  typedef struct packed {
    logic [5:0]         bits;
    logic [11:0]        pitch;
    logic [11:0]        out_y;
    logic [11:0]        out_x;
    logic [12:0]        first_y;
    logic [11:0]        first_x;
    logic [BUFFER-1:0]  buffer;
    logic [9:0]         lanes;       // Lanes in use.
    logic [13:0]        first_word;  // Number of its first word within a pixel.
  } word_t;
  word_t                      word;
  isa_pkg::pool_dst_t         word_dst;
  logic [$bits(word)-1:0]     words[THR_BUFFERS];
  logic [$bits(word_dst)-1:0] words_dst[THR_BUFFERS];
  logic [BUFFER-1:0] words_head, words_tail;
  logic [9:0]        lanes_used;
  logic [13:0]       first_word, words_begun;
  assign word = words[words_head];
  assign word_dst = words_dst[words_head];
  assign lanes_used = MAC_COLS < MAC_LANES ? 10'(32'(in_word) * MAC_COLS) + columns : columns;

  // Words of a pixel before this tile's: counted, since a tile never crosses a word.
  localparam int unsigned WORDS_PER_TILE = machine_pkg::maximum(MAC_COLS / MAC_LANES, 1);
  assign first_word = 14'(MAC_COLS < MAC_LANES ? 32'(words_begun) : 32'(tile) * WORDS_PER_TILE);
  assign words_begun = 14'(32'(tile) / TILES_PER_WORD);

  always_ff @(posedge clk) begin
    if (issue && completes) begin
      words_dst[words_tail] <= dst;
      words[words_tail] <= {mode.bits, entries.pitch, entries.out_y, entries.out_x, first_y, first_x, buffer,
                            lanes_used, first_word};
      words_tail <= 32'(words_tail) == THR_BUFFERS - 1 ? '0 : words_tail + BUFFER'(1);
    end
    if (write_last) words_head <= 32'(words_head) == THR_BUFFERS - 1 ? '0 : words_head + BUFFER'(1);
    ready_words <= ready_words + USED'(completing[THR_DEPTH-1]) - USED'(write_last);
    if (clear) begin
      words_head <= '0;
      words_tail <= '0;
      ready_words <= '0;
    end
  end

  // Its loops: image rows that the tile touches, phases, planes, words.
  logic        writing, write_active;
  logic [12:0] segment;            // Image row, from the first one on.
  logic [3:0]  phase;
  logic [12:0] y, last_y;
  logic [13*MAC_ROWS-1:0] word_y;
  logic [12*MAC_ROWS-1:0] word_x;
  logic [MAC_ROWS-1:0]    word_used;
  row_coordinates #(.MAC_ROWS(MAC_ROWS)) word_rows (
      .first_y(word.first_y), .first_x(word.first_x), .pitch(word.pitch), .out_y(word.out_y), .out_x(word.out_x),
      .y(word_y), .x(word_x), .used(word_used)
  );
  assign y = word.first_y + segment;
  assign last_y = word_y[13*(MAC_ROWS-1)+:13] < 13'(word.out_y) ? word_y[13*(MAC_ROWS-1)+:13] : 13'(word.out_y) - 13'd1;

  logic [5:0] words_here;
  logic       word_last, plane_last, phase_last;
  assign words_here = 6'((32'(word.lanes) + MAC_LANES - 1) / MAC_LANES);
  assign word_last = write_word == words_here - 6'd1;
  assign plane_last = 6'(write_plane) == word.bits - 6'd1;
  assign phase_last = phase == word_dst.s_x - 4'd1;
  assign write_issue = go && !writing && ready_words != 0 && port_free;
  assign write_active = writing || write_issue;
  assign write_last = write_active && word_last && plane_last && phase_last && y == last_y;
  assign holds_port = writing;
  assign write_buffer = word.buffer;
  assign write_lanes = word.lanes;

  always_ff @(posedge clk) begin
    if (write_active) begin
      writing <= 1'b1;
      write_word <= word_last ? '0 : write_word + 6'd1;
      if (word_last) write_plane <= plane_last ? '0 : write_plane + 5'd1;
      if (word_last && plane_last) phase <= phase_last ? '0 : phase + 4'd1;
      if (word_last && plane_last && phase_last) segment <= segment + 13'd1;
    end
    if (clear || write_last) begin
      writing <= 1'b0;
      write_word <= '0;
      write_plane <= '0;
      phase <= '0;
      segment <= '0;
    end
  end

  // Pixels of one image row and phase have consecutive indices, so they lie in different banks.
  logic [12:0]        y_index;
  logic [3:0]         y_phase;
  logic [27:0]        index, block;
  logic [ROW-1:0]     first_bank;
  logic [11:0]        first_index;
  logic signed [43:0] place, place_next;
  logic [3:0]         x_phase;
  logic [11:0]        x_index;
  assign {x_index, x_phase} = 16'(machine_pkg::divide({1'b0, word.first_x}, word_dst.s_x));
  assign {y_index, y_phase} = machine_pkg::divide(y, word_dst.s_y);
  // The first pixel's index in its phase: behind the start of a row only in the tile's first row.
  assign first_index = segment != '0 ? '0 : phase < x_phase ? x_index + 12'd1 : x_index;
  assign index = 28'(y_index) * 28'(word_dst.pitch) + 28'(first_index);
  assign block = index / 28'(MAC_ROWS);
  assign first_bank = ROW'(index % 28'(MAC_ROWS));
  assign place = 44'(word_dst.base) + (44'(y_phase) * 44'(word_dst.s_x) + 44'(phase)) * 44'(word_dst.phase)
               + 44'(block) * 44'(word_dst.block) + 44'(write_plane) * 44'(word_dst.plane) + 44'(word.first_word)
               + 44'(write_word);
  assign place_next = place + 44'(word_dst.block);

  // Banks below the first one hold the next block.
  logic                place_outside, place_next_outside;
  logic [MAC_ROWS-1:0] next_block;
  assign place_outside = place >= 44'(ACT_WORDS);
  assign place_next_outside = place_next >= 44'(ACT_WORDS);
  assign next_block = ~({MAC_ROWS{1'b1}} << first_bank);
  always_comb begin
    for (int unsigned b = 0; b < MAC_ROWS; b++) act_address[20*b+:20] = next_block[b] ? place_next[19:0] : place[19:0];
  end

  logic write_outside, write_outside_before;
  always_comb begin
    logic [11:0]  row_index;
    logic [3:0]   row_phase;
    logic [ROW:0] bank;
    logic         wraps;
    act_write = '0;
    act_row = '0;
    write_outside = 1'b0;
    row_index = x_index;
    row_phase = x_phase;
    for (int unsigned r = 0; r < MAC_ROWS; r++) begin
      if (r != 0 && word_x[12*r+:12] == '0) begin
        row_index = '0;
        row_phase = '0;
      end
      bank = (ROW + 1)'(first_bank) + (ROW + 1)'(row_index - first_index);
      wraps = 32'(bank) >= MAC_ROWS;
      if (wraps) bank = bank - (ROW + 1)'(MAC_ROWS);
      if (write_active && word_used[r] && word_y[13*r+:13] == y && row_phase == phase) begin
        if (wraps ? place_next_outside : place_outside) write_outside = 1'b1;
        else begin
          act_write[ROW'(bank)] = 1'b1;
          act_row[ROW*ROW'(bank)+:ROW] = ROW'(r);
        end
      end
      if (row_phase == word_dst.s_x - 4'd1) begin
        row_phase = '0;
        row_index = row_index + 12'd1;
      end else row_phase = row_phase + 4'd1;
    end
  end
  always_ff @(posedge clk) if (write_active) write_outside_before <= write_outside || (writing && write_outside_before);

  assign pipe_empty = !busy && pipe == '0 && ready_words == 0;
  assign moving = busy || writing || pipe != '0;

  always_comb begin
    fault_cause = machine_pkg::FAULT_NONE;
    write_fault = 1'b0;
    if (ready && illegal) fault_cause = machine_pkg::FAULT_ILLEGAL;
    if (ready && unconfigured) fault_cause = machine_pkg::FAULT_UNCONFIGURED;
    if (drain_last && (thr_outside || (busy && outside_before))) fault_cause = machine_pkg::FAULT_RANGE;
    if (write_last && (write_outside || (writing && write_outside_before))) begin
      fault_cause = machine_pkg::FAULT_RANGE;
      write_fault = 1'b1;
    end
  end
endmodule
