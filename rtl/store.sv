// STORE. The read stage copies words of one bank into a buffer; the burst stage writes complete buffers to DRAM.
module store #(
    parameter int unsigned MAC_ROWS = 16,
    parameter int unsigned MAC_LANES = 64,
    parameter int unsigned ACT_WORDS = 512,
    parameter int unsigned STORE_BUFFERS = 2,
    parameter int unsigned DRAM_WIDTH = 8,
    parameter int unsigned DRAM_BURST = 16,
    localparam int unsigned ROW = machine_pkg::index_bits(MAC_ROWS)
) (
    input  logic                    clk,
    input  logic                    clear,
    input  logic                    go,
    // From the sequencer.
    input  logic                    configure,
    input  logic [127:0]            configure_word,
    input  logic                    step,
    input  logic                    step_first,
    input  logic                    step_resume,
    input  logic [15:0]             step_post,
    output logic                    issue,
    output logic                    stage_free,
    output logic                    pipe_empty,
    output logic [15:0]             post,
    // The read port of the activation memory.
    input  logic                    port_free,
    output logic                    holds_port,
    output logic                    act_read,
    output logic [ROW-1:0]          act_bank,
    output logic [19:0]             act_address,
    input  logic [MAC_LANES-1:0]    act_data,
    // DRAM: a burst is asked for; accepted; its beats leave.
    output logic                    ask,
    output logic [32:0]             ask_address,
    output logic [15:0]             ask_beats,
    input  logic                    accepted,
    input  logic                    beat,
    input  logic                    beat_last,
    output logic [8*DRAM_WIDTH-1:0] beat_data,
    output logic [DRAM_WIDTH-1:0]   beat_strobe,
    output logic                    last,
    // A step is being read, or its posts are due.
    output logic                    moving,
    output logic [2:0]              fault_cause
);
  // A word takes a power of two of bytes in DRAM: several words a beat, or several beats a word.
  localparam int unsigned WORD_BYTES = 1 << $clog2(MAC_LANES / 8);
  localparam int unsigned WORDS_PER_BEAT = machine_pkg::maximum(DRAM_WIDTH / WORD_BYTES, 1);
  localparam int unsigned BEATS_PER_WORD = machine_pkg::maximum(WORD_BYTES / DRAM_WIDTH, 1);
  localparam int unsigned BURST_WORDS = DRAM_WIDTH * DRAM_BURST / WORD_BYTES;
  localparam int unsigned BUFFER = machine_pkg::index_bits(STORE_BUFFERS);
  localparam int unsigned USED = machine_pkg::index_bits(STORE_BUFFERS + 1);
  localparam int unsigned WORD = machine_pkg::index_bits(STORE_BUFFERS * BURST_WORDS);

  // ---- Registers ----

  isa_pkg::st_map_t shadow_map, active_map, regs;
  logic             map_set;
  always_ff @(posedge clk) begin
    if (configure && configure_word[11:7] == isa_pkg::GROUP_ST_MAP) begin
      shadow_map <= isa_pkg::st_map(configure_word);
      map_set <= 1'b1;
    end
    if (issue && step_first) active_map <= shadow_map;
    if (clear) map_set <= 1'b0;
  end

  logic busy;
  assign regs = !busy && step_first ? shadow_map : active_map;

  // ---- The generator: number of the step, and the same mod and div rows ----

  logic [31:0]    n, number;
  logic [ROW-1:0] n_bank, number_bank;
  logic [31:0]    n_block, number_block;
  logic           restart;
  assign restart = !busy && step_first && !step_resume;
  assign number = restart ? '0 : n;
  assign number_bank = restart ? '0 : n_bank;
  assign number_block = restart ? '0 : n_block;

  logic wraps;
  assign wraps = 32'(number_bank) == MAC_ROWS - 1;
  always_ff @(posedge clk) begin
    if (issue) begin
      n <= number + 1;
      n_bank <= wraps ? '0 : number_bank + ROW'(1);
      n_block <= wraps ? number_block + 1 : number_block;
    end
    if (clear) begin
      n <= '0;
      n_bank <= '0;
      n_block <= '0;
    end
  end

  logic [31:0] pixel_bank, pixel_block;
  logic [32:0] dram;
  logic [47:0] place;
  logic [31:0] beats;
  assign pixel_bank = 32'(regs.bank) + 32'(number_bank);
  assign pixel_block = pixel_bank / MAC_ROWS;
  assign dram = 33'(regs.dram) + 33'(number) * 33'(regs.pitch);
  assign place = 48'(regs.base) + (48'(number_block) + 48'(pixel_block)) * 48'(regs.block);
  assign beats = (32'(dram) % DRAM_WIDTH + 32'(regs.words) * WORD_BYTES + DRAM_WIDTH - 1) / DRAM_WIDTH;

  // ---- The read stage ----

  logic        ready, illegal;
  logic [USED-1:0] used;
  assign ready = step && !busy && 32'(used) < STORE_BUFFERS && port_free;
  assign illegal = dram % 33'(WORD_BYTES) != 0 || beats > DRAM_BURST;
  assign issue = ready && map_set && !illegal;

  logic           active, outside, outside_before;
  logic [11:0]    word;                  // Words of the step that have been read.
  logic [ROW-1:0] running_bank;
  logic [47:0]    running_place, address;
  assign active = busy || issue;
  assign address = (busy ? running_place : place) + 48'(word);
  assign last = active && word == regs.words - 12'd1;
  assign outside = active && address >= 48'(ACT_WORDS);
  assign act_read = active && !outside;
  assign act_bank = busy ? running_bank : ROW'(pixel_bank % MAC_ROWS);
  assign act_address = address[19:0];
  assign stage_free = !busy;
  assign holds_port = busy;

  always_ff @(posedge clk) begin
    if (issue) begin
      running_bank <= ROW'(pixel_bank % MAC_ROWS);
      running_place <= place;
    end
    if (active) begin
      busy <= !last;
      word <= last ? '0 : word + 12'd1;
      outside_before <= outside || (busy && outside_before);
    end
    if (clear) begin
      busy <= 1'b0;
      word <= '0;
    end
  end

  always_comb begin
    fault_cause = machine_pkg::FAULT_NONE;
    if (ready && illegal) fault_cause = machine_pkg::FAULT_ILLEGAL;
    if (ready && !map_set) fault_cause = machine_pkg::FAULT_UNCONFIGURED;
    if (last && (outside || (busy && outside_before))) fault_cause = machine_pkg::FAULT_RANGE;
  end

  // ---- Buffers: filled by reads, asked for and sent in order ----

  typedef struct packed {
    logic [32:0] dram;
    logic [15:0] beats;
    logic [11:0] words;
    logic [15:0] post;
  } burst_t;
  /* verilator lint_off UNUSEDSIGNAL */  // Each stage looks at a part of a burst's record.
  burst_t              asking, sending;
  /* verilator lint_on UNUSEDSIGNAL */
  // Plain vectors: yosys takes an array of structs for a single one.
  logic [$bits(asking)-1:0] bursts[STORE_BUFFERS];
  logic [BUFFER-1:0]   filling, ask_buffer, send_buffer, reading_buffer;
  logic                arriving, arriving_last;
  logic [11:0]         arriving_word;
  logic [USED-1:0]     complete, sent;   // Complete buffers without a burst; bursts on their way.
  logic [MAC_LANES-1:0] words[STORE_BUFFERS*BURST_WORDS];
  assign asking = bursts[ask_buffer];
  assign sending = bursts[send_buffer];

  function automatic logic [BUFFER-1:0] behind(input logic [BUFFER-1:0] buffer);
    behind = 32'(buffer) == STORE_BUFFERS - 1 ? '0 : buffer + BUFFER'(1);
  endfunction

  always_ff @(posedge clk) begin
    if (issue) begin
      bursts[filling] <= {dram, 16'(beats), regs.words, step_post};
      filling <= behind(filling);
      reading_buffer <= filling;
    end
    // The word comes one cycle after its address.
    arriving <= active && !clear;
    arriving_last <= last && !clear;
    arriving_word <= word;
    if (arriving) words[WORD'(32'(reading_buffer)*BURST_WORDS+32'(arriving_word))] <= act_data;
    used <= used + USED'(issue) - USED'(beat && beat_last);
    complete <= complete + USED'(arriving_last) - USED'(accepted);
    sent <= sent + USED'(accepted) - USED'(beat && beat_last);
    if (accepted) ask_buffer <= behind(ask_buffer);
    if (beat && beat_last) send_buffer <= behind(send_buffer);
    if (clear) begin
      filling <= '0;
      ask_buffer <= '0;
      send_buffer <= '0;
      used <= '0;
      complete <= '0;
      sent <= '0;
    end
  end
  assign ask = go && complete != 0;
  assign ask_address = asking.dram;
  assign ask_beats = asking.beats;

  // ---- Beats ----

  logic [15:0] beat_number;
  always_ff @(posedge clk) begin
    if (beat) beat_number <= beat_last ? '0 : beat_number + 16'd1;
    if (clear) beat_number <= '0;
  end

  if (WORDS_PER_BEAT > 1 || BEATS_PER_WORD == 1) begin : g_words
    logic [31:0] skipped;                // Words of the first beat before the burst's.
    assign skipped = 32'(sending.dram) % DRAM_WIDTH / WORD_BYTES;
    always_comb begin
      beat_data = '0;
      beat_strobe = '0;
      for (int unsigned i = 0; i < WORDS_PER_BEAT; i++) begin
        logic [31:0] number_here;
        number_here = 32'(beat_number) * WORDS_PER_BEAT + i - skipped;
        if (!number_here[31] && number_here < 32'(sending.words)) begin
          beat_data[8*WORD_BYTES*i+:8*WORD_BYTES] =
              (8 * WORD_BYTES)'(words[WORD'(32'(send_buffer)*BURST_WORDS+number_here)]);
          beat_strobe[WORD_BYTES*i+:WORD_BYTES] = '1;
        end
      end
    end
  end else begin : g_parts
    logic [8*WORD_BYTES-1:0] whole;
    assign whole = (8 * WORD_BYTES)'(words[WORD'(32'(send_buffer)*BURST_WORDS+32'(beat_number)/BEATS_PER_WORD)]);
    assign beat_data = whole[8*DRAM_WIDTH*(32'(beat_number)%BEATS_PER_WORD)+:8*DRAM_WIDTH];
    assign beat_strobe = '1;
  end

  // ---- Posts: the cycle after the burst has ended ----

  logic        ended;
  logic [15:0] ended_post;
  always_ff @(posedge clk) begin
    ended <= beat && beat_last && !clear;
    ended_post <= sending.post;
  end
  assign post = ended ? ended_post : '0;
  assign moving = busy || arriving || ended;
  assign pipe_empty = !busy && !arriving && complete == 0 && sent == 0 && !ended;
endmodule
