// The machine: a front end, four units with a queue each, sixteen semaphores, and four memories. DRAM is outside.
// Some signals are there to be watched from outside, and addresses have 20 bits whatever the size of their memory.
/* verilator lint_off UNUSEDSIGNAL */
module machine #(
    parameter int unsigned MAC_ROWS = 16,
    parameter int unsigned MAC_COLS = 16,
    parameter int unsigned MAC_LANES = 64,
    parameter int unsigned MAC_DEPTH = 4,
    parameter int unsigned MAC_TAPS = 32,
    parameter int unsigned ACC_BANKS = 2,
    parameter int unsigned ACT_WORDS = 512,
    parameter int unsigned WGT_WORDS = 2048,
    parameter int unsigned THR_COLS = 8,
    parameter int unsigned THR_DEPTH = 2,
    parameter int unsigned THR_BUFFERS = 2,
    parameter int unsigned THR_WORDS = 512,
    parameter int unsigned LOAD_WIDTH = 4,
    parameter int unsigned LOAD_DEPTH = 2,
    parameter int unsigned LOAD_BUFFERS = 8,
    parameter int unsigned STORE_BUFFERS = 2,
    parameter int unsigned QUEUE_DEPTH = 16,
    parameter int unsigned FETCH_WORDS = 16,
    parameter int unsigned DRAM_WIDTH = 8,
    parameter int unsigned DRAM_BURST = 16
) (
    input  logic                    clk,
    input  logic                    rst,
    // An image: begun by `start`, it takes the cycles in which `running` is high. The first one after reset is cold.
    input  logic                    start,
    output logic                    running,
    // The two streams of code.
    input  logic [31:0]             cold_dram,
    input  logic [31:0]             cold_words,
    input  logic [31:0]             warm_dram,
    input  logic [31:0]             warm_words,
    // DRAM: one burst is asked for in a cycle (source 0 fetch, 1 STORE, 2 LOAD) and accepted if it is ready; beats of reads
    // come, beats of writes are taken, in the order of acceptance.
    output logic                    req_valid,
    input  logic                    req_ready,
    output logic [1:0]              req_source,
    output logic [32:0]             req_address,
    output logic [15:0]             req_beats,
    input  logic                    read_valid,
    input  logic [1:0]              read_source,
    input  logic                    read_last,
    input  logic [8*DRAM_WIDTH-1:0] read_data,
    input  logic                    write_valid,
    input  logic                    write_last,
    output logic [8*DRAM_WIDTH-1:0] write_data,
    output logic [DRAM_WIDTH-1:0]   write_strobe,
    // The first fault, in its cycle: unit (4: front end), its second stage, cause. Nothing issues after it.
    output logic                    fault,
    output logic [2:0]              fault_unit,
    output logic                    fault_write,
    output logic [2:0]              fault_cause,
    // Nothing moves in the machine: with nothing on its way in DRAM, it never will.
    output logic                    still
);
  localparam int unsigned BANK = machine_pkg::index_bits(ACC_BANKS);
  localparam int unsigned ROW = machine_pkg::index_bits(MAC_ROWS);
  localparam int unsigned BUFFER = machine_pkg::index_bits(THR_BUFFERS);
  localparam int unsigned LANE_BYTES = machine_pkg::maximum(MAC_LANES / 8, 10);
  localparam int unsigned BUFFER_LANES = machine_pkg::maximum(MAC_COLS / MAC_LANES, 1) * MAC_LANES;
  localparam int unsigned LD = 0, MAC = 1, THR = 2, ST = 3;

  // ---- State of the whole ----

  logic ended, clear, go, faulted;
  assign clear = rst || ended;
  assign go = running && !faulted;
  always_ff @(posedge clk) begin
    if (fault) faulted <= 1'b1;
    if (clear) faulted <= 1'b0;
  end

  // ---- Front end ----

  logic         fetch_ask, store_ask, load_ask, fetch_accepted, store_accepted;
  logic [32:0]  fetch_address, store_address;
  logic [39:0]  load_address;
  logic [15:0]  fetch_beats, store_beats, load_beats;
  logic         decode, halt;
  logic [3:0]   push, full, idle;
  logic [127:0] push_word;
  logic [2:0]   front_cause;

  front_end #(.FETCH_WORDS(FETCH_WORDS), .DRAM_WIDTH(DRAM_WIDTH), .DRAM_BURST(DRAM_BURST)) front_end (
      .clk, .rst, .start, .running, .ended, .stop(faulted), .cold_dram, .cold_words, .warm_dram, .warm_words,
      .ask(fetch_ask), .ask_address(fetch_address), .ask_beats(fetch_beats), .accepted(fetch_accepted),
      .beat(read_valid && read_source == 2'd0), .beat_last(read_last), .beat_data(read_data),
      .push, .push_word, .full, .idle, .decode, .halt, .fault_cause(front_cause)
  );

  // DRAM takes one burst a cycle: the fetcher's before STORE's before LOAD's.
  logic load_slot;
  assign load_slot = req_ready && !fetch_ask && !store_ask;
  assign req_valid = fetch_ask || store_ask || load_ask;
  assign req_source = fetch_ask ? 2'd0 : store_ask ? 2'd1 : 2'd2;
  assign req_address = fetch_ask ? fetch_address : store_ask ? store_address : load_address[32:0];
  assign req_beats = fetch_ask ? fetch_beats : store_ask ? store_beats : load_beats;
  assign fetch_accepted = req_ready && fetch_ask;
  assign store_accepted = req_ready && !fetch_ask && store_ask;

  // ---- Queues and semaphores ----

  logic [3:0]   configure, step, step_first, step_resume, issue, stage_free, pipe_empty, sync, first, sequencer_idle;
  logic [127:0] configure_word[4];
  logic [15:0]  step_post[4], take[4], sync_post[4], post[4];
  logic [15:0]  empty;
  logic         overflow;

  for (genvar u = 0; u < 4; u++) begin : g_unit
    sequencer #(.QUEUE_DEPTH(QUEUE_DEPTH)) sequencer (
        .clk, .clear, .go, .push(push[u]), .push_word, .full(full[u]), .empty, .take(take[u]), .sync_post(sync_post[u]),
        .configure(configure[u]), .configure_word(configure_word[u]), .step(step[u]), .step_first(step_first[u]),
        .step_resume(step_resume[u]), .step_post(step_post[u]), .issue(issue[u]), .stage_free(stage_free[u]),
        .pipe_empty(pipe_empty[u]), .sync(sync[u]), .first(first[u]), .idle(sequencer_idle[u])
    );
  end
  assign idle = sequencer_idle & stage_free & pipe_empty;

  semaphores semaphores (
      .clk, .clear, .take_ld(take[LD]), .take_mac(take[MAC]), .take_thr(take[THR]), .take_st(take[ST]),
      .sync_ld(sync_post[LD]), .sync_mac(sync_post[MAC]), .sync_thr(sync_post[THR]), .sync_st(sync_post[ST]),
      .post_ld(post[LD]), .post_mac(post[MAC]), .post_thr(post[THR]), .post_st(post[ST]), .empty, .overflow
  );

  // ---- LOAD ----

  logic                               load_claim, load_holds, load_write_issue, load_write_last, load_write_fault;
  logic                               thr_holds, store_holds, load_moving, thr_moving, store_moving;
  logic                               burst_last;
  logic [39:0]                        load_step_dram;
  logic [23:0]                        load_step_bytes;
  logic [1:0]                         load_step_memory, lane_memory;
  logic [LOAD_WIDTH-1:0]              lane_write;
  logic [10*LOAD_WIDTH-1:0]           lane_bank;
  logic [20*LOAD_WIDTH-1:0]           lane_address;
  logic [8*LANE_BYTES*LOAD_WIDTH-1:0] lane_data;
  logic [2:0]                         load_cause;

  load #(
      .MAC_ROWS(MAC_ROWS), .MAC_COLS(MAC_COLS), .MAC_LANES(MAC_LANES), .ACT_WORDS(ACT_WORDS), .WGT_WORDS(WGT_WORDS),
      .THR_COLS(THR_COLS), .THR_WORDS(THR_WORDS), .LOAD_WIDTH(LOAD_WIDTH), .LOAD_DEPTH(LOAD_DEPTH),
      .LOAD_BUFFERS(LOAD_BUFFERS), .DRAM_WIDTH(DRAM_WIDTH), .DRAM_BURST(DRAM_BURST)
  ) load (
      .clk, .clear, .go, .configure(configure[LD]), .configure_word(configure_word[LD]), .step(step[LD]),
      .step_first(step_first[LD]), .step_resume(step_resume[LD]), .step_post(step_post[LD]), .issue(issue[LD]),
      .stage_free(stage_free[LD]), .pipe_empty(pipe_empty[LD]), .post(post[LD]), .slot(load_slot), .ask(load_ask),
      .ask_address(load_address), .ask_beats(load_beats), .beat(read_valid && read_source == 2'd2),
      .beat_last(read_last), .beat_data(read_data), .step_dram(load_step_dram), .step_bytes(load_step_bytes),
      .step_memory(load_step_memory), .burst_last, .port_free(!thr_holds), .port_claim(load_claim),
      .holds_port(load_holds), .memory(lane_memory), .lane_write, .lane_bank, .lane_address, .lane_data,
      .write_issue(load_write_issue), .write_last(load_write_last), .moving(load_moving),
      .fault_cause(load_cause),
      .write_fault(load_write_fault)
  );

  // ---- MAC ----

  logic [MAC_ROWS-1:0]    mac_read, array_row_used, array_row_inside;
  logic [20*MAC_ROWS-1:0] mac_address;
  logic [MAC_COLS-1:0]    wgt_read;
  logic [19:0]            wgt_address;
  logic                   array_valid, array_byte_mode, array_byte_signed, array_start, array_shift, array_negate;
  logic                   array_sum_valid, array_sum_shift, array_sum_negate, array_last, array_add, mac_last;
  logic [ROW-1:0]         array_rotation;
  logic [7:0]             array_pad;
  logic [9:0]             array_lanes, array_columns;
  logic [BANK-1:0]        array_bank;
  logic [2:0]             mac_cause;

  // STORE comes before MAC.
  logic mac_port_free;
  assign mac_port_free = !store_holds && !issue[ST];

  mac #(
      .MAC_ROWS(MAC_ROWS), .MAC_COLS(MAC_COLS), .MAC_LANES(MAC_LANES), .MAC_DEPTH(MAC_DEPTH), .MAC_TAPS(MAC_TAPS),
      .ACC_BANKS(ACC_BANKS), .ACT_WORDS(ACT_WORDS), .WGT_WORDS(WGT_WORDS)
  ) mac (
      .clk, .clear, .configure(configure[MAC]), .configure_word(configure_word[MAC]), .step(step[MAC]),
      .step_first(step_first[MAC]), .step_resume(step_resume[MAC]), .step_post(step_post[MAC]), .issue(issue[MAC]),
      .stage_free(stage_free[MAC]), .pipe_empty(pipe_empty[MAC]), .post(post[MAC]),
      .port_free(mac_port_free), .act_read(mac_read), .act_address(mac_address), .wgt_read, .wgt_address,
      .array_valid, .array_rotation, .array_row_used, .array_row_inside, .array_pad, .array_lanes, .array_columns,
      .array_byte_mode, .array_byte_signed, .array_start, .array_shift, .array_negate, .array_sum_valid,
      .array_sum_shift, .array_sum_negate, .array_last, .array_add, .array_bank, .last(mac_last),
      .fault_cause(mac_cause)
  );

  logic                           drain;
  logic [BANK-1:0]                drain_bank;
  logic [8:0]                     drain_group;
  logic [MAC_ROWS*MAC_LANES-1:0]  act_data;
  logic [MAC_COLS*MAC_LANES-1:0]  wgt_data;
  logic [MAC_ROWS*THR_COLS*32-1:0] drained;
  logic [MAC_ROWS*32-1:0]         drained_sums;

  array #(
      .MAC_ROWS(MAC_ROWS), .MAC_COLS(MAC_COLS), .MAC_LANES(MAC_LANES), .MAC_DEPTH(MAC_DEPTH), .ACC_BANKS(ACC_BANKS),
      .THR_COLS(THR_COLS)
  ) array (
      .clk, .activations(act_data), .weights(wgt_data), .valid(array_valid), .rotation(array_rotation),
      .row_used(array_row_used), .row_inside(array_row_inside), .pad(array_pad), .lanes(array_lanes),
      .columns(array_columns), .byte_mode(array_byte_mode), .byte_signed(array_byte_signed), .start(array_start),
      .shift(array_shift), .negate(array_negate), .sum_valid(array_sum_valid), .sum_shift(array_sum_shift),
      .sum_negate(array_sum_negate), .last(array_last), .add(array_add), .bank(array_bank), .drain, .drain_bank,
      .drain_group, .drained, .drained_sums
  );

  // ---- THR ----

  logic [THR_COLS-1:0]     thr_read;
  logic [19:0]             thr_address;
  logic [80*THR_COLS-1:0]  thr_data;
  logic                    unit_valid, unit_bipolar, unit_invert_top, unit_first;
  logic [1:0]              unit_kind;
  logic [3:0]              unit_fraction;
  logic [5:0]              unit_bits, unit_plane, pool_plane;
  logic [4:0]              write_plane;
  logic [7:0]              unit_pass;
  logic                    pool_valid, pool_first, pool_signed;
  logic [8:0]              pool_group;
  logic [6:0]              pool_in_word;
  logic [BUFFER-1:0]       pool_buffer, write_buffer;
  logic [MAC_ROWS-1:0]     pool_left_out, thr_write;
  logic [5:0]              write_word;
  logic [9:0]              write_lanes;
  logic [20*MAC_ROWS-1:0]  thr_write_address;
  logic [ROW*MAC_ROWS-1:0] thr_write_row;
  logic                    thr_write_issue, thr_write_last, drain_last, completes, thr_write_fault;
  logic [2:0]              thr_cause;

  // LOAD comes before THR.
  logic thr_port_free;
  assign thr_port_free = !load_holds && !load_claim;

  thr #(
      .MAC_ROWS(MAC_ROWS), .MAC_COLS(MAC_COLS), .MAC_LANES(MAC_LANES), .MAC_DEPTH(MAC_DEPTH), .ACC_BANKS(ACC_BANKS),
      .ACT_WORDS(ACT_WORDS), .THR_COLS(THR_COLS), .THR_DEPTH(THR_DEPTH), .THR_BUFFERS(THR_BUFFERS),
      .THR_WORDS(THR_WORDS)
  ) thr (
      .clk, .clear, .go, .configure(configure[THR]), .configure_word(configure_word[THR]), .step(step[THR]),
      .step_first(step_first[THR]), .step_resume(step_resume[THR]), .step_post(step_post[THR]), .issue(issue[THR]),
      .stage_free(stage_free[THR]), .pipe_empty(pipe_empty[THR]), .post(post[THR]), .drain, .drain_bank, .drain_group,
      .thr_read, .thr_address, .unit_valid, .unit_kind, .unit_bipolar, .unit_invert_top, .unit_fraction, .unit_bits,
      .unit_first, .unit_pass, .unit_plane, .pool_valid, .pool_plane, .pool_group, .pool_in_word, .pool_buffer,
      .pool_first, .pool_signed, .pool_left_out, .port_free(thr_port_free), .holds_port(thr_holds),
      .write_buffer, .write_plane, .write_word, .write_lanes, .act_write(thr_write), .act_address(thr_write_address),
      .act_row(thr_write_row), .write_issue(thr_write_issue), .write_last(thr_write_last), .drain_last, .completes, .moving(thr_moving),
      .fault_cause(thr_cause), .write_fault(thr_write_fault)
  );

  // Of the drain's columns: what all rows share.
  logic [57*THR_COLS-1:0] column_addend;
  logic [THR_COLS-1:0]    column_negative, column_constant, column_constant_bit;
  for (genvar i = 0; i < THR_COLS; i++) begin : g_column
    threshold_column threshold_column (
        .entry_a(thr_data[80*i+:48]), .entry_b(thr_data[80*i+48+:32]), .kind(unit_kind), .fraction(unit_fraction),
        .bits(unit_bits), .first(unit_first), .plane(unit_plane), .addend(column_addend[57*i+:57]),
        .negative(column_negative[i]), .constant(column_constant[i]), .constant_bit(column_constant_bit[i])
    );
  end

  // A threshold unit for each row and column of the drain, a max-pool unit for each row.
  logic [BUFFER_LANES-1:0] row_lanes[MAC_ROWS];
  for (genvar r = 0; r < MAC_ROWS; r++) begin : g_row
    logic [31:0]         row_term;
    logic [THR_COLS-1:0] codes;
    assign row_term = unit_bipolar ? ~drained_sums[32*r+:32] : '0;
    for (genvar i = 0; i < THR_COLS; i++) begin : g_unit
      threshold_unit #(.THR_DEPTH(THR_DEPTH)) threshold_unit (
          .clk, .acc(drained[32*(r*THR_COLS+i)+:32]), .row_term, .addend(column_addend[57*i+:57]),
          .negative(column_negative[i]), .constant(column_constant[i]), .constant_bit(column_constant_bit[i]),
          .valid(unit_valid), .kind(unit_kind), .bipolar(unit_bipolar), .invert_top(unit_invert_top), .bits(unit_bits),
          .first(unit_first), .pass(unit_pass), .plane(unit_plane), .code(codes[i])
      );
    end
    max_pool_unit #(
        .MAC_COLS(MAC_COLS), .MAC_LANES(MAC_LANES), .THR_COLS(THR_COLS), .THR_BUFFERS(THR_BUFFERS)
    ) max_pool_unit (
        .clk, .valid(pool_valid), .codes, .plane(pool_plane), .group(pool_group), .in_word(pool_in_word),
        .buffer(pool_buffer), .first(pool_first), .left_out(pool_left_out[r]), .is_signed(pool_signed),
        .read_buffer(write_buffer), .read_plane(write_plane), .read_lanes(row_lanes[r])
    );
  end

  // ---- STORE ----

  logic                 store_read, store_last;
  logic [ROW-1:0]       store_bank;
  logic [19:0]          store_read_address;
  logic [MAC_LANES-1:0] store_data;
  logic [ROW-1:0]       store_bank_before;
  logic [2:0]           store_cause;

  store #(
      .MAC_ROWS(MAC_ROWS), .MAC_LANES(MAC_LANES), .ACT_WORDS(ACT_WORDS), .STORE_BUFFERS(STORE_BUFFERS),
      .DRAM_WIDTH(DRAM_WIDTH), .DRAM_BURST(DRAM_BURST)
  ) store (
      .clk, .clear, .go, .configure(configure[ST]), .configure_word(configure_word[ST]), .step(step[ST]),
      .step_first(step_first[ST]), .step_resume(step_resume[ST]), .step_post(step_post[ST]), .issue(issue[ST]),
      .stage_free(stage_free[ST]), .pipe_empty(pipe_empty[ST]), .post(post[ST]), .port_free(stage_free[MAC]),
      .holds_port(store_holds), .act_read(store_read), .act_bank(store_bank), .act_address(store_read_address),
      .act_data(store_data), .ask(store_ask), .ask_address(store_address), .ask_beats(store_beats),
      .accepted(store_accepted), .beat(write_valid), .beat_last(write_last), .beat_data(write_data),
      .beat_strobe(write_strobe), .last(store_last), .moving(store_moving), .fault_cause(store_cause)
  );
  always_ff @(posedge clk) store_bank_before <= store_bank;
  always_comb begin
    store_data = '0;
    for (int unsigned b = 0; b < MAC_ROWS; b++)
      if (32'(store_bank_before) == b) store_data = act_data[b*MAC_LANES+:MAC_LANES];
  end

  // ---- Memories ----

  // What LOAD's lanes write to a bank: at most one lane has it.
  logic [MAC_ROWS-1:0]    act_read, act_write;
  logic [20*MAC_ROWS-1:0] act_read_address, act_write_address;
  logic [MAC_COLS-1:0]    wgt_write;
  logic [20*MAC_COLS-1:0] wgt_write_address;
  logic [THR_COLS-1:0]    thr_entry_write;
  logic [20*THR_COLS-1:0] thr_write_entry_address;

  logic [BUFFER_LANES-1:0] lanes_written;
  assign lanes_written = ~({BUFFER_LANES{1'b1}} << write_lanes);

  for (genvar b = 0; b < MAC_ROWS; b++) begin : g_act
    logic [MAC_LANES-1:0]    data;
    logic [BUFFER_LANES-1:0] lanes;
    assign act_read[b] = mac_read[b] || (store_read && 32'(store_bank) == b);
    assign act_read_address[20*b+:20] = store_read ? store_read_address : mac_address[20*b+:20];
    assign lanes = row_lanes[thr_write_row[ROW*b+:ROW]] & lanes_written;
    always_comb begin
      act_write[b] = thr_write[b];
      act_write_address[20*b+:20] = thr_write_address[20*b+:20];
      data = '0;
      for (int unsigned w = 0; w < BUFFER_LANES / MAC_LANES; w++)
        if (32'(write_word) == w) data = lanes[w*MAC_LANES+:MAC_LANES];
      for (int unsigned i = 0; i < LOAD_WIDTH; i++) begin
        if (lane_write[i] && lane_memory == isa_pkg::LD_DST_MEMORY_ACT && 32'(lane_bank[10*i+:10]) == b) begin
          act_write[b] = 1'b1;
          act_write_address[20*b+:20] = lane_address[20*i+:20];
          data = lane_data[8*LANE_BYTES*i+:MAC_LANES];
        end
      end
    end
    scratchpad #(.WIDTH(MAC_LANES), .WORDS(ACT_WORDS)) scratchpad (
        .clk, .read(act_read[b]), .read_address(act_read_address[20*b+:machine_pkg::index_bits(ACT_WORDS)]),
        .read_data(act_data[b*MAC_LANES+:MAC_LANES]), .write(act_write[b]),
        .write_address(act_write_address[20*b+:machine_pkg::index_bits(ACT_WORDS)]), .write_data(data)
    );
  end

  for (genvar b = 0; b < MAC_COLS; b++) begin : g_wgt
    logic [MAC_LANES-1:0] data;
    always_comb begin
      wgt_write[b] = 1'b0;
      wgt_write_address[20*b+:20] = '0;
      data = '0;
      for (int unsigned i = 0; i < LOAD_WIDTH; i++) begin
        if (lane_write[i] && lane_memory == isa_pkg::LD_DST_MEMORY_WGT && 32'(lane_bank[10*i+:10]) == b) begin
          wgt_write[b] = 1'b1;
          wgt_write_address[20*b+:20] = lane_address[20*i+:20];
          data = lane_data[8*LANE_BYTES*i+:MAC_LANES];
        end
      end
    end
    scratchpad #(.WIDTH(MAC_LANES), .WORDS(WGT_WORDS)) scratchpad (
        .clk, .read(wgt_read[b]), .read_address(wgt_address[machine_pkg::index_bits(WGT_WORDS)-1:0]),
        .read_data(wgt_data[b*MAC_LANES+:MAC_LANES]), .write(wgt_write[b]),
        .write_address(wgt_write_address[20*b+:machine_pkg::index_bits(WGT_WORDS)]), .write_data(data)
    );
  end

  for (genvar b = 0; b < THR_COLS; b++) begin : g_thr
    logic [79:0] data;
    always_comb begin
      thr_entry_write[b] = 1'b0;
      thr_write_entry_address[20*b+:20] = '0;
      data = '0;
      for (int unsigned i = 0; i < LOAD_WIDTH; i++) begin
        if (lane_write[i] && lane_memory == isa_pkg::LD_DST_MEMORY_THR && 32'(lane_bank[10*i+:10]) == b) begin
          thr_entry_write[b] = 1'b1;
          thr_write_entry_address[20*b+:20] = lane_address[20*i+:20];
          data = lane_data[8*LANE_BYTES*i+:80];
        end
      end
    end
    scratchpad #(.WIDTH(80), .WORDS(THR_WORDS)) scratchpad (
        .clk, .read(thr_read[b]), .read_address(thr_address[machine_pkg::index_bits(THR_WORDS)-1:0]),
        .read_data(thr_data[80*b+:80]), .write(thr_entry_write[b]),
        .write_address(thr_write_entry_address[20*b+:machine_pkg::index_bits(THR_WORDS)]), .write_data(data)
    );
  end

  // ---- Faults: the lower unit first, within a unit its second stage; the front end last ----

  always_comb begin
    fault_unit = 3'd4;
    fault_write = 1'b0;
    fault_cause = overflow ? machine_pkg::FAULT_OVERFLOW : front_cause;
    if (store_cause != '0) begin
      fault_unit = 3'(ST);
      fault_cause = store_cause;
    end
    if (thr_cause != '0) begin
      fault_unit = 3'(THR);
      fault_cause = thr_cause;
      fault_write = thr_write_fault;
    end
    if (mac_cause != '0) begin
      fault_unit = 3'(MAC);
      fault_cause = mac_cause;
      fault_write = 1'b0;
    end
    if (load_cause != '0) begin
      fault_unit = 3'(LD);
      fault_cause = load_cause;
      fault_write = load_write_fault;
    end
    fault = running && !faulted && fault_cause != '0;
  end

  assign still = running && !ended && !decode && configure == '0 && sync == '0 && issue == '0 && !(req_valid && req_ready)
              && !load_write_issue && !thr_write_issue && !load_moving && stage_free[MAC] && pipe_empty[MAC] && !thr_moving
              && !store_moving;
endmodule
/* verilator lint_on UNUSEDSIGNAL */
