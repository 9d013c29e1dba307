// One unit's queue: applies CFG words as they reach the head, gives and takes semaphores for SYNC, and offers the steps of
// work instructions to the unit. A work instruction leaves the queue with its first step; further steps issue from here.
module sequencer #(
    parameter int unsigned QUEUE_DEPTH = 16
) (
    input  logic         clk,
    input  logic         clear,
    // The machine runs and has not met a fault.
    input  logic         go,
    // From the front end.
    input  logic         push,
    input  logic [127:0] push_word,
    output logic         full,
    // Semaphores that are 0, those taken in this cycle, and those posted by SYNC.
    input  logic [15:0]  empty,
    output logic [15:0]  take,
    output logic [15:0]  sync_post,
    // A CFG word leaves the queue: its shadow register is written in this cycle.
    output logic         configure,
    output logic [127:0] configure_word,
    // The next step of work, its waits met. The unit answers with `issue` in the cycle in which it takes it.
    output logic         step,
    output logic         step_first,
    output logic         step_resume,
    output logic [15:0]  step_post,
    input  logic         issue,
    // The unit's issuing stage is free; its pipe is empty.
    input  logic         stage_free,
    input  logic         pipe_empty,
    // A step of SYNC issues.
    output logic         sync,
    // Whether the issuing step, of SYNC or work, is the first of its word.
    output logic         first,
    // No instruction in the queue and none with steps left.
    output logic         idle
);
  localparam int unsigned POINTER = machine_pkg::index_bits(QUEUE_DEPTH);
  localparam int unsigned COUNT = machine_pkg::index_bits(QUEUE_DEPTH + 1);

  logic [127:0]           queue[QUEUE_DEPTH];
  logic [POINTER-1:0]     head, tail;
  logic [COUNT-1:0]       count;
  logic [127:0]           word;
  logic                   present, head_cfg, head_sync;

  assign word = queue[head];
  assign present = count != 0;
  assign head_cfg = word[3:0] == isa_pkg::OP_CFG;
  assign head_sync = word[3:0] == isa_pkg::OP_SYNC;
  assign full = 32'(count) == QUEUE_DEPTH;

  // The instruction whose steps are being issued. Work and SYNC have these operands at the same bits.
  isa_pkg::mac_t operands;
  logic [15:0] left, wait_mask, post_mask;
  logic        is_sync;
  assign operands = isa_pkg::mac(word);

  // The step whose turn it is: the next of the running instruction, or the first of the one at the head.
  logic        running, turn, turn_sync, waits_met;
  logic [15:0] turn_wait, turn_post;
  assign running = left != 0;
  assign turn = go && (running || (present && !head_cfg));
  assign turn_sync = running ? is_sync : head_sync;
  assign turn_wait = running ? wait_mask : operands.wait_;
  assign turn_post = running ? post_mask : operands.post;
  assign waits_met = (turn_wait & empty) == '0;

  assign configure = go && present && head_cfg;
  assign configure_word = word;
  assign step = turn && !turn_sync && waits_met;
  assign step_first = !running;
  assign step_resume = operands.resume;
  assign step_post = turn_post;
  assign sync = turn && turn_sync && waits_met && stage_free && (turn_post == '0 || pipe_empty);
  assign first = (sync || issue) && !running;
  assign take = sync || issue ? turn_wait : '0;
  assign sync_post = sync ? turn_post : '0;
  assign idle = !present && !running;

  logic pop;
  assign pop = configure || first;

  always_ff @(posedge clk) begin
    if (push) begin
      queue[tail] <= push_word;
      tail <= 32'(tail) == QUEUE_DEPTH - 1 ? '0 : tail + POINTER'(1);
    end
    if (pop) head <= 32'(head) == QUEUE_DEPTH - 1 ? '0 : head + POINTER'(1);
    count <= count + COUNT'(push) - COUNT'(pop);
    if (sync || issue) begin
      if (!running) begin
        left <= operands.repeat_ - 16'd1;
        wait_mask <= operands.wait_;
        post_mask <= operands.post;
        is_sync <= head_sync;
      end else left <= left - 16'd1;
    end
    if (clear) begin
      head <= '0;
      tail <= '0;
      count <= '0;
      left <= '0;
    end
  end
endmodule
