// Streams code from DRAM into the code queue, decodes it in order, and sends each word to its unit's queue. HALT waits
// until every unit is idle and the code queue is refilled from the warm entry.
module front_end #(
    parameter int unsigned FETCH_WORDS = 16,
    parameter int unsigned DRAM_WIDTH = 8,
    parameter int unsigned DRAM_BURST = 16
) (
    input  logic                    clk,
    input  logic                    rst,
    // Begins an image: the next cycle is its cycle 0. The first image after reset is cold, all others are warm.
    input  logic                    start,
    output logic                    running,
    // Last cycle of an image.
    output logic                    ended,
    // The machine has met a fault.
    input  logic                    stop,
    // The two streams: address of the first word, a multiple of 16, and number of words.
    input  logic [31:0]             cold_dram,
    input  logic [31:0]             cold_words,
    input  logic [31:0]             warm_dram,
    input  logic [31:0]             warm_words,
    // DRAM: a burst is asked for; it is accepted; its beats.
    output logic                    ask,
    output logic [32:0]             ask_address,
    output logic [15:0]             ask_beats,
    input  logic                    accepted,
    input  logic                    beat,
    input  logic                    beat_last,
    input  logic [8*DRAM_WIDTH-1:0] beat_data,
    // Queues of the units.
    output logic [3:0]              push,
    output logic [127:0]            push_word,
    input  logic [3:0]              full,
    // Units without instructions and with empty pipes.
    input  logic [3:0]              idle,
    // A word leaves the code queue; HALT does.
    output logic                    decode,
    output logic                    halt,
    output logic [2:0]              fault_cause
);
  // A word may take several beats, or a beat hold several words.
  localparam int unsigned WORDS_PER_BEAT = machine_pkg::maximum(DRAM_WIDTH / 16, 1);
  localparam int unsigned BEATS_PER_WORD = machine_pkg::maximum(16 / DRAM_WIDTH, 1);
  localparam int unsigned BURST_WORDS = machine_pkg::minimum(8, DRAM_WIDTH * DRAM_BURST / 16);
  localparam int unsigned POINTER = machine_pkg::index_bits(FETCH_WORDS);
  localparam int unsigned LEVEL = machine_pkg::index_bits(FETCH_WORDS + 1);
  localparam int unsigned PART = machine_pkg::index_bits(BEATS_PER_WORD);

  logic halting;

  // ---- The fetcher ----

  logic             warm;               // The stream that is fetched.
  logic [31:0]      base, length;
  logic [31:0]      asked, decoded;     // Words of the stream asked for, and decoded.
  logic [LEVEL-1:0] queued, coming;     // Words in the code queue, and on their way.
  logic [3:0]       wanted;             // Words of the next burst.
  assign base = warm ? warm_dram : cold_dram;
  assign length = warm ? warm_words : cold_words;
  assign wanted = length - asked < BURST_WORDS ? 4'(length - asked) : 4'(BURST_WORDS);
  assign ask = running && !stop && wanted != 0 && 32'(queued) + 32'(coming) + 32'(wanted) <= FETCH_WORDS;
  assign ask_address = 33'(base) + {1'b0, asked[27:0], 4'd0};
  assign ask_beats = 16'((32'(ask_address) % DRAM_WIDTH + 32'(wanted) * 16 + DRAM_WIDTH - 1) / DRAM_WIDTH);

  // Words of a burst enter the queue as they come and count from its end on.
  logic [POINTER-1:0] head, tail;
  logic [127:0]       queue[FETCH_WORDS];
  logic [3:0]         filled;           // Words of the arriving burst that are in the queue.
  logic [3:0]         burst_words;      // Its words.
  logic [3:0]         bursts_words[64]; // Words of each burst on its way, in order.
  logic [5:0]         bursts_head, bursts_tail;
  logic [1:0]         skip;             // Words of the arriving beat that precede the burst.
  logic               beat_first;
  logic [1:0]         bursts_skip[64];
  assign burst_words = bursts_words[bursts_head];
  assign skip = beat_first ? bursts_skip[bursts_head] : '0;

  function automatic logic [POINTER-1:0] behind(input logic [POINTER-1:0] pointer, input logic [2:0] words);
    logic [POINTER:0] sum;
    sum = (POINTER + 1)'(pointer) + (POINTER + 1)'(words);
    behind = POINTER'(32'(sum) >= FETCH_WORDS ? sum - (POINTER + 1)'(FETCH_WORDS) : sum);
  endfunction

  logic [127:0] arriving[WORDS_PER_BEAT];
  logic [2:0]   complete;               // Words that this beat completes.
  if (DRAM_WIDTH >= 16) begin : g_wide
    for (genvar i = 0; i < WORDS_PER_BEAT; i++) begin : g_word
      assign arriving[i] = beat_data[128*i+:128];
    end
    logic [3:0] room, due;
    assign room = 4'(WORDS_PER_BEAT) - 4'(skip);
    assign due = burst_words - filled;
    assign complete = 3'(room < due ? room : due);
  end else begin : g_narrow
    // The parts of a word that have come already.
    logic [127:8*DRAM_WIDTH] parts;
    logic [PART-1:0] part;
    logic            whole;
    assign whole = 32'(part) == BEATS_PER_WORD - 1;
    assign arriving[0] = {beat_data, parts};
    assign complete = 3'(whole);
    always_ff @(posedge clk) begin
      if (beat) begin
        parts <= arriving[0][127:8*DRAM_WIDTH];
        part <= whole ? '0 : part + PART'(1);
      end
      if (rst) part <= '0;
    end
  end

  // ---- Decode ----

  logic [127:0] word;
  logic         available, undefined_word, misplaced;
  assign word = queue[head];
  assign available = running && !stop && !halting && queued != 0;
  assign undefined_word = available && !isa_pkg::defined(word);
  assign misplaced = available && word[3:0] == isa_pkg::OP_HALT && decoded + 1 != length;
  assign halt = available && !undefined_word && !misplaced && word[3:0] == isa_pkg::OP_HALT;
  assign decode = available && !undefined_word && !misplaced && (halt || !full[word[5:4]]);
  assign fault_cause = undefined_word ? machine_pkg::FAULT_UNDEFINED
                     : misplaced ? machine_pkg::FAULT_ILLEGAL : machine_pkg::FAULT_NONE;
  assign push_word = word;
  always_comb begin
    push = '0;
    push[word[5:4]] = decode && !halt;
  end

  // ---- The end ----

  assign ended = running && halting && idle == '1 && coming == 0 && !ask;

  always_ff @(posedge clk) begin
    if (accepted) begin
      bursts_words[bursts_tail] <= wanted;
      bursts_skip[bursts_tail] <= 2'(32'(ask_address) % DRAM_WIDTH / 16);
      bursts_tail <= bursts_tail + 6'd1;
      asked <= asked + 32'(wanted);
    end
    if (beat) begin
      for (int unsigned i = 0; i < WORDS_PER_BEAT; i++) begin
        if (i < 32'(complete)) queue[behind(tail, 3'(i))] <= arriving[(i + 32'(skip)) % WORDS_PER_BEAT];
      end
      tail <= behind(tail, complete);
      filled <= beat_last ? '0 : filled + 4'(complete);
      beat_first <= beat_last;
      if (beat_last) bursts_head <= bursts_head + 6'd1;
    end
    coming <= coming + (accepted ? LEVEL'(wanted) : '0) - (beat && beat_last ? LEVEL'(burst_words) : '0);
    queued <= queued + (beat && beat_last ? LEVEL'(burst_words) : '0) - LEVEL'(decode);
    if (decode) begin
      head <= behind(head, 3'd1);
      decoded <= decoded + 1;
    end
    if (halt) begin
      halting <= 1'b1;
      warm <= 1'b1;
      asked <= 0;
      decoded <= 0;
    end
    if (start && !running) running <= 1'b1;
    if (ended) begin
      running <= 1'b0;
      halting <= 1'b0;
    end
    if (rst) begin
      running <= 1'b0;
      halting <= 1'b0;
      warm <= 1'b0;
      asked <= 0;
      decoded <= 0;
      queued <= '0;
      coming <= '0;
      filled <= '0;
      head <= '0;
      tail <= '0;
      bursts_head <= '0;
      bursts_tail <= '0;
      beat_first <= 1'b1;
    end
  end
endmodule
