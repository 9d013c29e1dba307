// LOAD. The burst stage asks DRAM for a step's bytes, burst by burst; the beats come into a ring. When a step's bytes are
// there the write stage takes them to their memory, several words a cycle, image rows through the packer.
module load #(
    parameter int unsigned MAC_ROWS = 16,
    parameter int unsigned MAC_COLS = 16,
    parameter int unsigned MAC_LANES = 64,
    parameter int unsigned ACT_WORDS = 512,
    parameter int unsigned WGT_WORDS = 2048,
    parameter int unsigned THR_COLS = 8,
    parameter int unsigned THR_WORDS = 512,
    parameter int unsigned LOAD_WIDTH = 4,
    parameter int unsigned LOAD_DEPTH = 2,
    parameter int unsigned LOAD_BUFFERS = 8,
    parameter int unsigned DRAM_WIDTH = 8,
    parameter int unsigned DRAM_BURST = 16,
    // Bytes of a write lane: of a word or of a threshold entry.
    localparam int unsigned LANE_BYTES = machine_pkg::maximum(MAC_LANES / 8, 10)
) (
    input  logic                               clk,
    input  logic                               clear,
    input  logic                               go,
    // From the sequencer.
    input  logic                               configure,
    input  logic [127:0]                       configure_word,
    input  logic                               step,
    input  logic                               step_first,
    input  logic                               step_resume,
    input  logic [15:0]                        step_post,
    output logic                               issue,
    output logic                               stage_free,
    output logic                               pipe_empty,
    output logic [15:0]                        post,
    // DRAM: LOAD's turn to ask, its burst, its beats.
    input  logic                               slot,
    output logic                               ask,
    output logic [39:0]                        ask_address,
    output logic [15:0]                        ask_beats,
    input  logic                               beat,
    input  logic                               beat_last,
    input  logic [8*DRAM_WIDTH-1:0]            beat_data,
    // Of the step whose burst is asked for; last burst of it.
    output logic [39:0]                        step_dram,
    output logic [23:0]                        step_bytes,
    output logic [1:0]                         step_memory,
    output logic                               burst_last,
    // The write stage: lanes with their places.
    input  logic                               port_free,
    output logic                               port_claim,
    output logic                               holds_port,
    output logic [1:0]                         memory,
    output logic [LOAD_WIDTH-1:0]              lane_write,
    output logic [10*LOAD_WIDTH-1:0]           lane_bank,
    output logic [20*LOAD_WIDTH-1:0]           lane_address,
    output logic [8*LANE_BYTES*LOAD_WIDTH-1:0] lane_data,
    output logic                               write_issue,
    output logic                               write_last,
    // A step is being written, or on its way through the pipeline.
    output logic                               moving,
    output logic [2:0]                         fault_cause,
    output logic                               write_fault
);
  localparam int unsigned WORD_BYTES = MAC_LANES / 8;
  localparam int unsigned WORD_SHIFT = $clog2(WORD_BYTES);  // A word takes a power of two of bytes in DRAM.
  localparam int unsigned BEAT_SHIFT = $clog2(DRAM_WIDTH);
  localparam int unsigned RING = machine_pkg::index_bits(LOAD_BUFFERS * DRAM_BURST);  // Address bits of the ring of beats.
  localparam int unsigned STEP = machine_pkg::index_bits(LOAD_BUFFERS);
  localparam int unsigned USED = machine_pkg::index_bits(LOAD_BUFFERS + 1);
  localparam int unsigned ROW = machine_pkg::index_bits(MAC_ROWS);
  localparam int unsigned PACKED = machine_pkg::minimum(LOAD_WIDTH, MAC_ROWS);        // Windows in parallel.
  localparam int unsigned LANE_BEATS = (LANE_BYTES + DRAM_WIDTH - 2) / DRAM_WIDTH + 1;

  // ---- Registers ----

  isa_pkg::ld_src_t shadow_src, active_src, src;
  isa_pkg::ld_dst_t shadow_dst, active_dst, dst;
  isa_pkg::ld_row_t shadow_row, active_row, row;
  isa_pkg::ld_map_t shadow_map, active_map, layout;
  logic             src_set, dst_set, row_set, map_set;
  logic [4:0]       group;
  assign group = configure_word[11:7];

  always_ff @(posedge clk) begin
    if (configure) begin
      if (group == isa_pkg::GROUP_LD_SRC) begin
        shadow_src <= isa_pkg::ld_src(configure_word);
        src_set <= 1'b1;
      end
      if (group == isa_pkg::GROUP_LD_DST) begin
        shadow_dst <= isa_pkg::ld_dst(configure_word);
        dst_set <= 1'b1;
      end
      if (group == isa_pkg::GROUP_LD_ROW) begin
        shadow_row <= isa_pkg::ld_row(configure_word);
        row_set <= 1'b1;
      end
      if (group == isa_pkg::GROUP_LD_MAP) begin
        shadow_map <= isa_pkg::ld_map(configure_word);
        map_set <= 1'b1;
      end
    end
    if (issue && step_first) begin
      active_src <= shadow_src;
      active_dst <= shadow_dst;
      active_row <= shadow_row;
      active_map <= shadow_map;
    end
    if (clear) begin
      src_set <= 1'b0;
      dst_set <= 1'b0;
      row_set <= 1'b0;
      map_set <= 1'b0;
    end
  end

  // ---- The burst stage ----

  logic        midway;            // A step has bursts left; its registers are active.
  logic        counted;           // The generator has counted a step in this image.
  logic [39:0] done;              // Bytes of the steps since the generator started.
  logic [39:0] next_dram;         // Of the step midway: its next byte,
  logic [15:0] beats_left;        // and the beats that it still needs.
  logic [USED-1:0] used;          // Buffers in use: bursts on their way or not yet written.
  logic        from_shadow, restart;
  assign from_shadow = !midway && step_first;
  assign src = from_shadow ? shadow_src : active_src;
  assign dst = from_shadow ? shadow_dst : active_dst;
  assign row = from_shadow ? shadow_row : active_row;
  assign layout = from_shadow ? shadow_map : active_map;
  assign restart = !counted || (step_first && !step_resume);

  logic [39:0] done_before;
  logic [31:0] lead, beats;       // Bytes of the first beat before the step's; beats that the step touches.
  logic        is_pack;
  assign is_pack = dst.memory == isa_pkg::LD_DST_MEMORY_PACK;
  assign done_before = restart ? '0 : done;
  assign step_dram = midway ? next_dram : 40'(src.dram) + done_before;
  assign step_bytes = src.bytes;
  assign step_memory = dst.memory;
  assign lead = 32'(step_dram) % DRAM_WIDTH;
  assign beats = midway ? 32'(beats_left) : (lead + 32'(src.bytes) + DRAM_WIDTH - 1) / DRAM_WIDTH;
  assign ask_beats = burst_last ? 16'(beats) : 16'(DRAM_BURST);
  assign burst_last = beats <= DRAM_BURST;
  assign ask_address = step_dram;

  logic [31:0] banks, size_mask;
  logic        unconfigured, illegal, loops_changed, room, ready, accepted;
  assign banks = dst.memory == isa_pkg::LD_DST_MEMORY_THR ? THR_COLS
               : dst.memory == isa_pkg::LD_DST_MEMORY_WGT ? MAC_COLS : MAC_ROWS;
  assign size_mask = dst.memory == isa_pkg::LD_DST_MEMORY_THR ? 32'd15 : (32'd1 << WORD_SHIFT) - 1;
  assign loops_changed = step_first && !restart && (dst.memory != active_dst.memory
      || (is_pack ? layout.s_y != active_map.s_y || layout.s_x != active_map.s_x || layout.pitch != active_map.pitch
                  : dst.span != active_dst.span));
  assign unconfigured = !loops_changed && (!src_set || !dst_set || (is_pack && (!row_set || !map_set)));
  always_comb begin
    illegal = loops_changed || beats > LOAD_BUFFERS * DRAM_BURST;
    if (is_pack) illegal = illegal || 32'(src.bytes) != 32'(row.width) * 32'(row.channels);
    else illegal = illegal || (32'(src.bytes) & size_mask) != 0 || src.dram % DRAM_WIDTH != 0
                || 32'(dst.bank) + 32'(dst.span) > banks;
  end
  assign room = 32'(used) < LOAD_BUFFERS;
  assign ready = step && !midway && room && slot;
  assign ask = go && room && (midway || (step && !unconfigured && !illegal));
  assign accepted = ask && slot;
  assign issue = accepted && !midway;
  assign stage_free = !midway;

  // ---- Steps between the stages ----

  typedef struct packed {
    logic [23:0] bytes;
    logic        restart;
    logic [5:0]  lead;
    logic [15:0] beats;
    logic [6:0]  bursts;
    logic [15:0] post;
  } step_t;
  isa_pkg::ld_dst_t current_dst;
  /* verilator lint_off UNUSEDSIGNAL */      // The row's width is known by its bytes.
  isa_pkg::ld_row_t current_row;
  /* verilator lint_on UNUSEDSIGNAL */
  isa_pkg::ld_map_t current_map;
  step_t           pending, current;         // The step midway; the one that is written.
  // Plain vectors: yosys takes an array of structs for a single one.
  logic [$bits(current)-1:0]     steps[LOAD_BUFFERS];
  logic [$bits(current_dst)-1:0] steps_dst[LOAD_BUFFERS];
  logic [$bits(current_row)-1:0] steps_row[LOAD_BUFFERS];
  logic [$bits(current_map)-1:0] steps_map[LOAD_BUFFERS];
  logic [STEP-1:0] steps_head, steps_tail;
  logic [USED-1:0] waiting;                  // Steps whose last burst is accepted.
  logic [USED-1:0] arrived;                  // Bursts that have arrived and are not written.
  logic [6:0]      bursts_before;
  assign current = steps[steps_head];
  assign current_dst = steps_dst[steps_head];
  assign current_row = steps_row[steps_head];
  assign current_map = steps_map[steps_head];
  assign bursts_before = midway ? pending.bursts : '0;

  step_t ending;                             // With the burst that is asked for.
  always_comb begin
    ending = midway ? pending : {src.bytes, restart, 6'(lead), 16'(beats), 7'd0, step_post};
    ending.bursts = bursts_before + 7'd1;
  end

  always_ff @(posedge clk) begin
    if (accepted) begin
      if (burst_last) begin
        steps[steps_tail] <= ending;
        steps_dst[steps_tail] <= dst;
        steps_row[steps_tail] <= row;
        steps_map[steps_tail] <= layout;
        steps_tail <= 32'(steps_tail) == LOAD_BUFFERS - 1 ? '0 : steps_tail + STEP'(1);
      end
      pending <= ending;
      midway <= !burst_last;
      beats_left <= 16'(beats - DRAM_BURST);
      // The first beat may have begun before the step's first byte.
      next_dram <= step_dram - 40'(lead) + 40'(DRAM_BURST * DRAM_WIDTH);
    end
    if (issue) begin
      counted <= 1'b1;
      done <= done_before + 40'(src.bytes);
    end
    if (write_last) steps_head <= 32'(steps_head) == LOAD_BUFFERS - 1 ? '0 : steps_head + STEP'(1);
    used <= used + USED'(accepted) - (write_last ? USED'(current.bursts) : '0);
    waiting <= waiting + USED'(accepted && burst_last) - USED'(write_last);
    arrived <= arrived + USED'(beat && beat_last) - (write_last ? USED'(current.bursts) : '0);
    if (clear) begin
      midway <= 1'b0;
      counted <= 1'b0;
      used <= '0;
      waiting <= '0;
      arrived <= '0;
      steps_head <= '0;
      steps_tail <= '0;
    end
  end

  // ---- The ring of beats ----

  logic [8*DRAM_WIDTH-1:0] ring[2**RING];
  logic [RING-1:0]         ring_write, ring_read;
  always_ff @(posedge clk) begin
    if (beat) begin
      ring[ring_write] <= beat_data;
      ring_write <= ring_write + RING'(1);
    end
    if (write_last) ring_read <= ring_read + RING'(current.beats);
    if (clear) begin
      ring_write <= '0;
      ring_read <= '0;
    end
  end

  // ---- The write stage ----

  logic writing, active, to_act, first_cycle;
  logic to_pack, to_thr;
  assign to_pack = current_dst.memory == isa_pkg::LD_DST_MEMORY_PACK;
  assign to_thr = current_dst.memory == isa_pkg::LD_DST_MEMORY_THR;
  assign to_act = to_pack || current_dst.memory == isa_pkg::LD_DST_MEMORY_ACT;
  assign write_issue = go && !writing && waiting != 0 && 8'(arrived) >= 8'(current.bursts) && (port_free || !to_act);
  assign active = writing || write_issue;
  assign first_cycle = write_issue;
  assign port_claim = write_issue && to_act;
  assign holds_port = writing && to_act;
  assign memory = to_pack ? isa_pkg::LD_DST_MEMORY_ACT : current_dst.memory;

  // Plain: words in the order of the region; `offset` and `line` are the region's word number mod and div span.
  logic [23:0] word, words;
  logic [9:0]  offset, offset_before, written;
  logic [26:0] line, line_before;
  logic [10:0] offset_next;
  assign words = to_thr ? current.bytes >> 4 : current.bytes >> WORD_SHIFT;
  assign offset_before = first_cycle && current.restart ? '0 : offset;
  assign line_before = first_cycle && current.restart ? '0 : line;
  always_comb begin
    written = 10'(LOAD_WIDTH);
    if (current_dst.span < written) written = current_dst.span;
    if (words - word < 24'(written)) written = 10'(words - word);
  end
  assign offset_next = 11'(offset_before) + 11'(written);

  // Packed: phases of a row; within, groups of windows; within, words of a packed pixel.
  logic [3:0]     phase;
  logic [15:0]    window;                     // First window of the group.
  logic [23:0]    window_byte;                // Bytes of a window before this word.
  logic [3:0]     y_phase, y_phase_before;    // Row number mod s_y.
  logic [ROW-1:0] bank, row_bank, row_bank_before, bank_now;
  logic [23:0]    block, row_block, row_block_before, block_now;
  logic [23:0]    window_bytes;
  logic           word_end, group_end, phase_end, row_start;
  logic [8:0]     bank_sum, pitch_bank;
  logic [11:0]    pitch_block;
  logic [8:0]     pitch_rest;
  assign pitch_block = current_map.pitch / 12'(MAC_ROWS);
  assign pitch_rest = 9'(current_map.pitch % 12'(MAC_ROWS));
  assign window_bytes = 24'(current_row.taps) * 24'(current_row.channels);
  assign word_end = 25'(window_byte) + 25'(WORD_BYTES) >= 25'(window_bytes);
  assign group_end = 17'(window) - 17'(phase) + 17'(PACKED) * 17'(current_map.s_x) >= 17'(current_row.windows);
  assign phase_end = phase == current_map.s_x - 4'd1;
  // Index of the row's first pixel in its phase: its bank and its block.
  assign y_phase_before = first_cycle && current.restart ? '0 : y_phase;
  assign row_bank_before = first_cycle && current.restart ? '0 : row_bank;
  assign row_block_before = first_cycle && current.restart ? '0 : row_block;
  assign row_start = 32'(window) == 32'(phase);
  assign bank_now = row_start ? row_bank_before : bank;
  assign block_now = row_start ? row_block_before : block;
  assign bank_sum = 9'(bank_now) + 9'(PACKED);
  assign pitch_bank = 9'(row_bank_before) + pitch_rest;

  assign write_last = active && (to_pack ? word_end && group_end && phase_end : word + 24'(written) >= words);

  always_ff @(posedge clk) begin
    if (active) begin
      writing <= 1'b1;
      if (to_pack) begin
        window_byte <= word_end ? '0 : window_byte + 24'(WORD_BYTES);
        y_phase <= y_phase_before;
        row_bank <= row_bank_before;
        row_block <= row_block_before;
        if (word_end) begin
          window <= !group_end ? window + 16'(PACKED) * 16'(current_map.s_x) : 16'(phase) + 16'd1;
          bank <= ROW'(32'(bank_sum) >= MAC_ROWS ? bank_sum - 9'(MAC_ROWS) : bank_sum);
          block <= 32'(bank_sum) >= MAC_ROWS ? block_now + 24'd1 : block_now;
          if (group_end) phase <= phase + 4'd1;
        end else begin
          bank <= bank_now;
          block <= block_now;
        end
        if (write_last) begin
          y_phase <= y_phase_before == current_map.s_y - 4'd1 ? '0 : y_phase_before + 4'd1;
          if (y_phase_before == current_map.s_y - 4'd1) begin
            row_bank <= ROW'(32'(pitch_bank) >= MAC_ROWS ? pitch_bank - 9'(MAC_ROWS) : pitch_bank);
            row_block <= row_block_before + 24'(pitch_block) + 24'(32'(pitch_bank) >= MAC_ROWS);
          end
        end
      end else begin
        word <= word + 24'(written);
        offset <= 10'(offset_next >= 11'(current_dst.span) ? offset_next - 11'(current_dst.span) : offset_next);
        line <= offset_next >= 11'(current_dst.span) ? line_before + 27'd1 : line_before;
      end
    end
    if (clear || write_last) begin
      writing <= 1'b0;
      word <= '0;
      phase <= '0;
      window <= '0;
      window_byte <= '0;
    end
  end

  // ---- Lanes ----

  logic [15:0]        stride;        // Bytes from one window to the next.
  logic signed [31:0] position;      // Byte of the row that the first lane's word begins with.
  logic signed [43:0] place;
  logic               outside, outside_before;
  assign stride = 16'(current_row.step) * 16'(current_row.channels);
  assign position = $signed(32'(window) * 32'(stride)) - $signed(32'(current_row.left) * 32'(current_row.channels))
                  + $signed(32'(window_byte));
  assign place = 44'(current_dst.base) + (44'(y_phase_before) * 44'(current_map.s_x) + 44'(phase)) * 44'(current_map.phase)
               + 44'(block_now) * 44'(current_map.block) + 44'(window_byte) / 44'(WORD_BYTES);

  logic [19:0]        lane_stride;   // Bytes of the row from one lane's window to the next lane's.
  logic [31:0]        memory_words;
  logic [23:0]        window_rest;   // Bytes of the window from this word on.
  assign lane_stride = 20'(current_map.s_x) * 20'(stride);
  assign memory_words = to_thr ? THR_WORDS : to_act ? ACT_WORDS : WGT_WORDS;
  assign window_rest = window_bytes - window_byte;

  logic [LOAD_WIDTH-1:0] lane_outside;
  for (genvar i = 0; i < LOAD_WIDTH; i++) begin : g_lane
    logic               used_lane;
    logic [31:0]        bank_here;
    logic signed [43:0] address;
    logic signed [31:0] byte_here;
    logic [31:0]        at;
    always_comb begin
      byte_here = position + $signed(32'(i) * 32'(lane_stride));
      if (to_pack) begin
        used_lane = i < PACKED && 32'(window) + 32'(i) * 32'(current_map.s_x) < 32'(current_row.windows);
        bank_here = 32'(bank_now) + i;
        address = bank_here >= MAC_ROWS ? place + 44'(current_map.block) : place;
        if (bank_here >= MAC_ROWS) bank_here = bank_here - MAC_ROWS;
        at = 32'(current.lead) + byte_here;
      end else begin
        used_lane = i < 32'(written);
        bank_here = 32'(offset_before) + i;
        address = 44'(current_dst.base) + 44'(line_before);
        if (bank_here >= 32'(current_dst.span)) begin
          bank_here = bank_here - 32'(current_dst.span);
          address = address + 44'd1;
        end
        bank_here = bank_here + 32'(current_dst.bank);
        at = 32'(current.lead) + ((32'(word) + i) << (to_thr ? 4 : WORD_SHIFT));
      end
      lane_outside[i] = active && used_lane && address >= 44'(memory_words);
      lane_write[i] = active && used_lane && !lane_outside[i];
      lane_bank[10*i+:10] = 10'(bank_here);
      lane_address[20*i+:20] = address[19:0];
    end

    logic [8*DRAM_WIDTH*LANE_BEATS-1:0] beats_here;
    for (genvar b = 0; b < LANE_BEATS; b++) begin : g_beat
      assign beats_here[8*DRAM_WIDTH*b+:8*DRAM_WIDTH] = ring[ring_read+RING'(at>>BEAT_SHIFT)+RING'(b)];
    end
    packer #(.WORD_BYTES(LANE_BYTES), .DRAM_WIDTH(DRAM_WIDTH), .BEATS(LANE_BEATS)) packer (
        .beats(beats_here), .offset(6'(at % DRAM_WIDTH)), .pack(to_pack), .position(byte_here),
        .row_bytes(current.bytes), .window_rest, .flip(current_row.xor_), .pad(current_row.pad),
        .word(lane_data[8*LANE_BYTES*i+:8*LANE_BYTES])
    );
  end
  assign outside = |lane_outside;
  always_ff @(posedge clk) if (active) outside_before <= outside || (writing && outside_before);

  // ---- Posts at the end of the pipeline ----

  logic [LOAD_DEPTH-1:0] pipe;
  logic [15:0]           posts[LOAD_DEPTH];
  always_ff @(posedge clk) begin
    for (int unsigned i = 0; i < LOAD_DEPTH; i++) begin
      pipe[i] <= i == 0 ? write_last : pipe[i-1];
      posts[i] <= i == 0 ? current.post : posts[i-1];
    end
    if (clear) pipe <= '0;
  end
  assign post = pipe[LOAD_DEPTH-1] ? posts[LOAD_DEPTH-1] : '0;
  assign pipe_empty = !midway && waiting == 0 && pipe == '0;
  assign moving = writing || pipe != '0;

  always_comb begin
    fault_cause = machine_pkg::FAULT_NONE;
    write_fault = 1'b0;
    if (ready && illegal) fault_cause = machine_pkg::FAULT_ILLEGAL;
    if (ready && unconfigured) fault_cause = machine_pkg::FAULT_UNCONFIGURED;
    if (write_last && (outside || (writing && outside_before))) begin
      fault_cause = machine_pkg::FAULT_RANGE;
      write_fault = 1'b1;
    end
  end
endmodule
