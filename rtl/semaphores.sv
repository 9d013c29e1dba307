// Sixteen counters of sixteen bits. What is posted in a cycle is seen by the decisions of the next one.
module semaphores (
    input  logic        clk,
    input  logic        clear,
    // Sets of which one is taken: one set a unit.
    input  logic [15:0] take_ld,
    input  logic [15:0] take_mac,
    input  logic [15:0] take_thr,
    input  logic [15:0] take_st,
    // Sets to which one is added: SYNC and work of each unit.
    input  logic [15:0] sync_ld,
    input  logic [15:0] sync_mac,
    input  logic [15:0] sync_thr,
    input  logic [15:0] sync_st,
    input  logic [15:0] post_ld,
    input  logic [15:0] post_mac,
    input  logic [15:0] post_thr,
    input  logic [15:0] post_st,
    // Semaphores that are 0.
    output logic [15:0] empty,
    // A counter has passed its last value.
    output logic        overflow
);
  logic [15:0] overflows;
  assign overflow = |overflows;

  for (genvar s = 0; s < 16; s++) begin : g_semaphore
    logic [15:0]       count;
    logic [3:0]        added;
    logic [2:0]        taken;
    logic signed [4:0] change;
    logic [16:0]       next;

    // The small sums first, so that a counter is one adder.
    assign added = 4'(sync_ld[s]) + 4'(sync_mac[s]) + 4'(sync_thr[s]) + 4'(sync_st[s])
                 + 4'(post_ld[s]) + 4'(post_mac[s]) + 4'(post_thr[s]) + 4'(post_st[s]);
    assign taken = 3'(take_ld[s]) + 3'(take_mac[s]) + 3'(take_thr[s]) + 3'(take_st[s]);
    assign change = 5'(added) - 5'(taken);
    assign next = 17'(count) + 17'(change);

    always_ff @(posedge clk) begin
      count <= next[15:0];
      overflows[s] <= next[16];
      if (clear) begin
        count <= '0;
        overflows[s] <= 1'b0;
      end
    end

    assign empty[s] = count == '0 && !overflows[s];
  end
endmodule
