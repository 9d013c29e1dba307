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
    logic [15:0] count;
    logic [16:0] next;

    always_comb begin
      next = 17'(count);
      if (take_ld[s]) next -= 17'd1;
      if (take_mac[s]) next -= 17'd1;
      if (take_thr[s]) next -= 17'd1;
      if (take_st[s]) next -= 17'd1;
      next += 17'(sync_ld[s]) + 17'(sync_mac[s]) + 17'(sync_thr[s]) + 17'(sync_st[s])
            + 17'(post_ld[s]) + 17'(post_mac[s]) + 17'(post_thr[s]) + 17'(post_st[s]);
    end

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
