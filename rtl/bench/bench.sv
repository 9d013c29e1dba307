// The machine with its insides in view: what issues and ends in a cycle, which words it touches, and, on a clock of their
// own, the contents of all memories. DRAM is a model around this module.
module bench #(
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
    // Number of the fault that the machine has, if it was built with faults; 0 is none.
    input  logic [15:0]                     planted,
    input  logic                            clk,
    input  logic                            rst,
    input  logic                            start,
    output logic                            running,
    input  logic [31:0]                     cold_dram,
    input  logic [31:0]                     cold_words,
    input  logic [31:0]                     warm_dram,
    input  logic [31:0]                     warm_words,
    output logic                            req_valid,
    input  logic                            req_ready,
    output logic [1:0]                      req_source,
    output logic [32:0]                     req_address,
    output logic [15:0]                     req_beats,
    input  logic                            read_valid,
    input  logic [1:0]                      read_source,
    input  logic                            read_last,
    input  logic [8*DRAM_WIDTH-1:0]         read_data,
    input  logic                            write_valid,
    input  logic                            write_last,
    output logic [8*DRAM_WIDTH-1:0]         write_data,
    output logic [DRAM_WIDTH-1:0]           write_strobe,
    output logic                            fault,
    output logic [2:0]                      fault_unit,
    output logic                            fault_write,
    output logic [2:0]                      fault_cause,
    output logic                            still,
    // What happens in this cycle.
    output logic [31:0]                     probe,
    output logic [1:0]                      probe_decode_unit,
    // What registers hold that decisions of this cycle see: semaphores, words in the units' queues and the code queue.
    output logic [16*16-1:0]                probe_semaphores,
    output logic [16*4-1:0]                 probe_queues,
    output logic [15:0]                     probe_code_queue,
    output logic [39:0]                     load_step_dram,
    output logic [23:0]                     load_step_bytes,
    output logic [1:0]                      load_step_memory,
    // Words that are read and written in this cycle, a bit and an address a bank.
    output logic [MAC_ROWS-1:0]             act_read,
    output logic [20*MAC_ROWS-1:0]          act_read_address,
    output logic                            act_read_store,
    output logic [MAC_ROWS-1:0]             act_write,
    output logic [20*MAC_ROWS-1:0]          act_write_address,
    output logic                            act_write_thr,
    output logic [MAC_COLS-1:0]             wgt_read,
    output logic [20*MAC_COLS-1:0]          wgt_read_address,
    output logic [MAC_COLS-1:0]             wgt_write,
    output logic [20*MAC_COLS-1:0]          wgt_write_address,
    output logic [THR_COLS-1:0]             thr_read,
    output logic [20*THR_COLS-1:0]          thr_read_address,
    output logic [THR_COLS-1:0]             thr_write,
    output logic [20*THR_COLS-1:0]          thr_write_address,
    // Contents of the memories, a word of every bank at a time: 0 activations, 1 weights, 2 thresholds, 3 accumulators.
    input  logic                            peek_clk,
    input  logic [1:0]                      peek_memory,
    input  logic [19:0]                     peek_address,
    output logic [MAC_ROWS*MAC_LANES-1:0]   peek_act,
    output logic [MAC_COLS*MAC_LANES-1:0]   peek_wgt,
    output logic [80*THR_COLS-1:0]          peek_thr,
    output logic [32*MAC_ROWS*MAC_COLS-1:0] peek_acc,
    output logic [32*MAC_ROWS-1:0]          peek_row_sums
);
  machine #(
      .MAC_ROWS(MAC_ROWS), .MAC_COLS(MAC_COLS), .MAC_LANES(MAC_LANES), .MAC_DEPTH(MAC_DEPTH), .MAC_TAPS(MAC_TAPS),
      .ACC_BANKS(ACC_BANKS), .ACT_WORDS(ACT_WORDS), .WGT_WORDS(WGT_WORDS), .THR_COLS(THR_COLS), .THR_DEPTH(THR_DEPTH),
      .THR_BUFFERS(THR_BUFFERS), .THR_WORDS(THR_WORDS), .LOAD_WIDTH(LOAD_WIDTH), .LOAD_DEPTH(LOAD_DEPTH),
      .LOAD_BUFFERS(LOAD_BUFFERS), .STORE_BUFFERS(STORE_BUFFERS), .QUEUE_DEPTH(QUEUE_DEPTH), .FETCH_WORDS(FETCH_WORDS),
      .DRAM_WIDTH(DRAM_WIDTH), .DRAM_BURST(DRAM_BURST)
  ) machine (
      .clk, .rst, .start, .running, .cold_dram, .cold_words, .warm_dram, .warm_words, .req_valid, .req_ready, .req_source,
      .req_address, .req_beats, .read_valid, .read_source, .read_last, .read_data, .write_valid, .write_last, .write_data,
      .write_strobe, .fault, .fault_unit, .fault_write, .fault_cause, .still
  );

  localparam int unsigned LD = 0, MAC = 1, THR = 2, ST = 3;
  logic load_accepted;
  assign load_accepted = machine.load_ask && machine.load_slot;
  assign probe[0] = machine.decode && !machine.halt;
  assign probe[1] = machine.halt;
  assign probe[5:2] = machine.configure;
  assign probe[9:6] = machine.sync;
  assign probe[13:10] = machine.first;
  assign probe[14] = load_accepted;
  assign probe[15] = machine.issue[LD];
  assign probe[16] = load_accepted && machine.burst_last;
  assign probe[17] = machine.load_write_issue;
  assign probe[18] = machine.load_write_last;
  assign probe[19] = machine.issue[MAC];
  assign probe[20] = machine.mac_last;
  assign probe[21] = machine.issue[THR];
  assign probe[22] = machine.drain_last;
  assign probe[23] = machine.issue[THR] && machine.completes;
  assign probe[24] = machine.thr_write_issue;
  assign probe[25] = machine.thr_write_last;
  assign probe[26] = machine.issue[ST];
  assign probe[27] = machine.store_last;
  assign probe[28] = machine.store_accepted;
  assign probe[29] = machine.fetch_accepted;
  assign probe[31:30] = '0;
  assign probe_decode_unit = machine.push_word[5:4];
  for (genvar s = 0; s < 16; s++) begin : g_semaphores
    assign probe_semaphores[16*s+:16] = machine.semaphores.g_semaphore[s].count;
  end
  for (genvar u = 0; u < 4; u++) begin : g_queues
    assign probe_queues[16*u+:16] = 16'(machine.g_unit[u].sequencer.count);
  end
  assign probe_code_queue = 16'(machine.front_end.queued);
  assign load_step_dram = machine.load_step_dram;
  assign load_step_bytes = machine.load_step_bytes;
  assign load_step_memory = machine.load_step_memory;

  assign act_read = machine.act_read;
  assign act_read_address = machine.act_read_address;
  assign act_read_store = machine.store_read;
  assign act_write = machine.act_write;
  assign act_write_address = machine.act_write_address;
  assign act_write_thr = |machine.thr_write;
  assign wgt_read = machine.wgt_read;
  assign wgt_read_address = {MAC_COLS{machine.wgt_address}};
  assign wgt_write = machine.wgt_write;
  assign wgt_write_address = machine.wgt_write_address;
  assign thr_read = machine.thr_read;
  assign thr_read_address = {THR_COLS{machine.thr_address}};
  assign thr_write = machine.thr_entry_write;
  assign thr_write_address = machine.thr_write_entry_address;

  for (genvar b = 0; b < MAC_ROWS; b++) begin : g_act
    always_ff @(posedge peek_clk)
      if (peek_memory == 2'd0)
        peek_act[b*MAC_LANES+:MAC_LANES] <=
            machine.g_act[b].scratchpad.words[peek_address[machine_pkg::index_bits(ACT_WORDS)-1:0]];
  end
  for (genvar b = 0; b < MAC_COLS; b++) begin : g_wgt
    always_ff @(posedge peek_clk)
      if (peek_memory == 2'd1)
        peek_wgt[b*MAC_LANES+:MAC_LANES] <=
            machine.g_wgt[b].scratchpad.words[peek_address[machine_pkg::index_bits(WGT_WORDS)-1:0]];
  end
  for (genvar b = 0; b < THR_COLS; b++) begin : g_thr
    always_ff @(posedge peek_clk)
      if (peek_memory == 2'd2)
        peek_thr[80*b+:80] <= machine.g_thr[b].scratchpad.words[peek_address[machine_pkg::index_bits(THR_WORDS)-1:0]];
  end
  for (genvar r = 0; r < MAC_ROWS; r++) begin : g_row
    for (genvar c = 0; c < MAC_COLS; c++) begin : g_column
      always_ff @(posedge peek_clk)
        if (peek_memory == 2'd3)
          peek_acc[32*(r*MAC_COLS+c)+:32] <=
              machine.array.g_row[r].g_column[c].element.banks[peek_address[machine_pkg::index_bits(ACC_BANKS)-1:0]];
    end
    always_ff @(posedge peek_clk)
      if (peek_memory == 2'd3)
        peek_row_sums[32*r+:32] <=
            machine.array.g_row[r].row_sum.banks[peek_address[machine_pkg::index_bits(ACC_BANKS)-1:0]];
  end
endmodule

// What a planted fault looks at; a machine without planted faults has none of these.
module planted_fault (
    output logic [15:0] number
);
  assign number = bench.planted;
endmodule
