// Moves the beats of an engine's streams between files and the engine, without Python in the loop.
// harness.py writes and reads the files.
//
// A rising edge of `start` resets the engine, reads control.bin and opens the other files. `done`
// rises when all jobs were accepted and the engine is no longer busy, or at the cycle limit. Beats in
// files are padded to whole bytes, last byte first; other numbers have 32 bits, highest byte first.
// Results are written in 32-bit words, lowest word first, in the byte order of the host.
//
// control.bin  number of jobs, activation beats, weight beats, result beats; cycle limit; streams
//              that have a file of gaps (bit 0 activations, bit 1 weights, bit 2 results)
// *_gaps.bin, result_stalls.bin   idle cycles before each beat
// events.txt   kind and cycle of each event, then the counts, see end_run

module harness #(
    parameter JOB_BITS = 1,
    parameter ACTIVATION_BITS = 1,
    parameter WEIGHT_BITS = 1,
    parameter RESULT_BITS = 1
) (
    input  wire clk,
    input  wire start,
    output reg  done
);
    reg rst = 1;
    reg running = 0;
    reg was_started = 0;
    reg [31:0] cycle = 0;

    reg [31:0] jobs_total, activations_total, weights_total, results_total, limit, gaps;
    integer jobs_file, activations_file, weights_file, results_file, events_file;
    integer activation_gaps_file, weight_gaps_file, result_gaps_file;

    wire jobs_ready, activations_ready, weights_ready, results_valid, busy, error;
    reg jobs_valid = 0, activations_valid = 0, weights_valid = 0, results_ready = 0;
    // $fread assigns at once, like a blocking assignment, but the engine must see the old value until
    // after the clock edge.
    reg [(JOB_BITS + 7) / 8 * 8 - 1:0] job, next_job;
    reg [(ACTIVATION_BITS + 7) / 8 * 8 - 1:0] activation, next_activation;
    reg [(WEIGHT_BITS + 7) / 8 * 8 - 1:0] weight, next_weight;
    wire [RESULT_BITS - 1:0] result;
    reg [31:0] jobs_sent, jobs_taken, activations_sent, weights_sent, results_received;
    reg [31:0] activation_idle, weight_idle, result_idle;
    reg [31:0] weight_stalls, result_stalls, first_weight, last_weight, weights_taken;
    reg failed, finished;

    matvec engine (
        .clk(clk), .rst(rst),
        .jobs__valid(jobs_valid), .jobs__ready(jobs_ready),
        .jobs__payload(job[JOB_BITS - 1:0]),
        .activations__valid(activations_valid), .activations__ready(activations_ready),
        .activations__payload(activation[ACTIVATION_BITS - 1:0]),
        .weights__valid(weights_valid), .weights__ready(weights_ready),
        .weights__payload(weight[WEIGHT_BITS - 1:0]),
        .results__valid(results_valid), .results__ready(results_ready),
        .results__payload(result),
        .busy(busy), .error(error), .faults()
    );

    // Read the next gap of a stream; 0 at the end of the file, or without one.
    function automatic [31:0] next_gap(input integer file, input enabled);
        reg [31:0] gap;
        next_gap = 0;
        if (enabled && $fread(gap, file) == 4) next_gap = gap;
    endfunction

    task begin_run;
        integer control;
        control = $fopen("control.bin", "rb");
        failed = $fread(jobs_total, control) != 4
            || $fread(activations_total, control) != 4
            || $fread(weights_total, control) != 4
            || $fread(results_total, control) != 4
            || $fread(limit, control) != 4
            || $fread(gaps, control) != 4;
        $fclose(control);
        jobs_file = $fopen("jobs.bin", "rb");
        activations_file = $fopen("activations.bin", "rb");
        weights_file = $fopen("weights.bin", "rb");
        results_file = $fopen("results.bin", "wb");
        events_file = $fopen("events.txt", "w");
        if (gaps[0]) activation_gaps_file = $fopen("activation_gaps.bin", "rb");
        if (gaps[1]) weight_gaps_file = $fopen("weight_gaps.bin", "rb");
        if (gaps[2]) result_gaps_file = $fopen("result_stalls.bin", "rb");
        jobs_sent = 0;
        jobs_taken = 0;
        activations_sent = 0;
        weights_sent = 0;
        weights_taken = 0;
        results_received = 0;
        weight_stalls = 0;
        result_stalls = 0;
        first_weight = 0;
        last_weight = 0;
        activation_idle = next_gap(activation_gaps_file, gaps[0]);
        weight_idle = next_gap(weight_gaps_file, gaps[1]);
        result_idle = next_gap(result_gaps_file, gaps[2]);
    endtask

    task end_run;
        $fwrite(events_file, "weight_beats %0d\n", weights_taken);
        $fwrite(events_file, "weight_stalls %0d\n", weight_stalls);
        $fwrite(events_file, "first_weight %0d\n", first_weight);
        $fwrite(events_file, "last_weight %0d\n", last_weight);
        $fwrite(events_file, "activation_beats %0d\n", activations_sent);
        $fwrite(events_file, "result_beats %0d\n", results_received);
        $fwrite(events_file, "result_stalls %0d\n", result_stalls);
        $fwrite(events_file, "error %0d\n", error);
        $fwrite(events_file, "failed %0d\n", failed);
        $fclose(jobs_file);
        $fclose(activations_file);
        $fclose(weights_file);
        $fclose(results_file);
        $fclose(events_file);
        if (gaps[0]) $fclose(activation_gaps_file);
        if (gaps[1]) $fclose(weight_gaps_file);
        if (gaps[2]) $fclose(result_gaps_file);
    endtask

    always @(posedge clk) begin
        was_started <= start;
        if (start && !was_started) begin
            begin_run;
            rst <= 1;
            running <= 1;
            done <= 0;
            cycle <= 0;
            jobs_valid <= 0;
            activations_valid <= 0;
            weights_valid <= 0;
            results_ready <= 0;
        end else if (running) begin
            rst <= 0;
            cycle <= cycle + 1;
            finished = jobs_taken == jobs_total && !busy;

            if (jobs_valid && jobs_ready) begin
                $fwrite(events_file, "job %0d\n", cycle);
                jobs_taken = jobs_taken + 1;
            end
            if (!rst && (!jobs_valid || jobs_ready)) begin
                jobs_valid <= jobs_sent != jobs_total;
                if (jobs_sent != jobs_total) begin
                    if ($fread(next_job, jobs_file) == 0) failed = 1;
                    job <= next_job;
                    jobs_sent = jobs_sent + 1;
                end
            end

            if (!rst && (!activations_valid || activations_ready)) begin
                activations_valid <= 0;
                if (activation_idle != 0) activation_idle = activation_idle - 1;
                else if (activations_sent != activations_total) begin
                    if ($fread(next_activation, activations_file) == 0) failed = 1;
                    activation <= next_activation;
                    activations_valid <= 1;
                    activations_sent = activations_sent + 1;
                    activation_idle = next_gap(activation_gaps_file, gaps[0]);
                end
            end

            if (weights_valid && weights_ready) begin
                if (weights_taken == 0) first_weight = cycle;
                last_weight = cycle;
                weights_taken = weights_taken + 1;
            end else if (weights_valid && weights_taken != 0) weight_stalls = weight_stalls + 1;
            if (!rst && (!weights_valid || weights_ready)) begin
                weights_valid <= 0;
                if (weight_idle != 0) weight_idle = weight_idle - 1;
                else if (weights_sent != weights_total) begin
                    if ($fread(next_weight, weights_file) == 0) failed = 1;
                    weight <= next_weight;
                    weights_valid <= 1;
                    weights_sent = weights_sent + 1;
                    weight_idle = next_gap(weight_gaps_file, gaps[1]);
                end
            end

            if (results_valid && results_ready) begin
                $fwrite(results_file, "%u", result);
                if (result[RESULT_BITS - 1]) $fwrite(events_file, "last %0d\n", cycle);
                results_received = results_received + 1;
                result_idle = next_gap(result_gaps_file, gaps[2]);
            end else if (results_valid) result_stalls = result_stalls + 1;
            if (!rst) begin
                results_ready <= result_idle == 0;
                if (result_idle != 0) result_idle = result_idle - 1;
            end

            if (failed || finished || cycle == limit) begin
                if (!finished || results_received != results_total) failed = 1;
                end_run;
                running <= 0;
                done <= 1;
            end
        end
    end

    initial done = 0;
endmodule
