#!/usr/bin/env escript
%%! -noinput +S 1 +A 1
%%
%% A Gy/Ro client on the diameter application of Erlang/OTP, as strict as its decoder and gy.dia can be.
%%
%%     escript client.erl core HOST PORT MSISDN...         over TCP, as TS 32.299 has it
%%     escript client.erl plain HOST PORT MSISDN           units beside the Result-Code, as RFC 8506 has it
%%     escript client.erl secure HOST PORT MSISDN FOLDER   over TLS, with the PEM files in FOLDER
%%     escript client.erl some HOST PORT MSISDN COUNT      some requests, whatever is answered
%%
%% Each message of the server is one line of JSON on standard output: {"what": ..., "message": its name, "problems": [...],
%% "avps": [[name, value], ...]} with groups as lists of pairs. A problem is what the decoder complains of, an AVP that the grammar
%% has not, wrong flags, a Session-Id that is not the first. Any problem makes the exit status 1.
%% The dictionary is compiled in memory: nothing is written, and without distribution no epmd is started.
%%
-mode(compile).
-export([peer_up/3, peer_down/3, pick_peer/4, prepare_request/3, prepare_retransmit/3, handle_answer/4, handle_error/4,
         handle_request/3, watchdog/0]).

%% As in diameter.hrl, which Debian has in a package of its own.
-record(diameter_header, {version, length, cmd_code, application_id, hop_by_hop_id, end_to_end_id, is_request, is_proxiable,
                          is_error, is_retransmitted}).
-record(diameter_avp, {code, vendor_id, is_mandatory = false, need_encryption = false, data, name, value, type, index}).
-record(diameter_packet, {header, avps, msg, bin, errors = [], transport_data}).

-define(SERVICE, gy_client).
-define(BASE, diameter_gen_base_rfc6733).
-define(REALM, "a1.example.net").
-define(SERVER, "ocs.hot.example.net").
-define(SERVER_REALM, "hot.example.net").
-define(DATA, "32251@3gpp.org").
-define(CALL, "32260@3gpp.org").
-define(SMS, "32274@3gpp.org").
-define(MB, 1048576).
-define(PATIENCE_MS, 10000).
-define(WATCHDOG_MS, 300).
-define(PATIENT_WATCHDOGS, 50). % unanswered, before the connection counts as lost
-define(REPORT_MS, 1000). % the server looks at its load more often
-define(BURST, 40).
-define(UNIX_EPOCH, 62167219200). % in the seconds of calendar(3)
%% RFC 8506 8: the M flag MAY be set.
-define(EITHER, ['QoS-Final-Unit-Indication', 'Redirect-Server-Extension', 'Redirect-Address-IPAddress',
                 'Redirect-Address-URL', 'Redirect-Address-SIP-URI']).

main([Scenario, Host, Port | More]) ->
    Identity = case Scenario of "secure" -> "tls." ?REALM; _ -> "pgw." ?REALM end,
    start(Identity, Host, list_to_integer(Port), security(Scenario, More)),
    case {Scenario, More} of
        {"core", Subscribers} -> core(Subscribers);
        {"plain", [Subscriber]} -> plain(Subscriber);
        {"secure", [Subscriber, _]} -> restricted(Subscriber);
        {"some", [Subscriber, Count]} -> some(Subscriber, list_to_integer(Count))
    end,
    goodbye().

security("secure", [_, Folder]) ->
    {ok, _} = application:ensure_all_started(ssl),
    File = fun(Name) -> filename:join(Folder, Name) end,
    [{ssl_options, true}, {certfile, File("tls.pem")}, {keyfile, File("tls.key")}, {cacertfile, File("ca.pem")},
     {verify, verify_peer}, {server_name_indication, ?SERVER}];
security(_, _) -> [].

%% ------------------------------------------------------------------------------------------------------------- what is asked

core([Rich, Poor, Caller]) ->
    Home = ps(<<"29340">>),
    %% Two rating groups of one price, which may share their quota; quota by time beside it.
    Data = fun(Type, Number, Services, More) ->
               charge(Rich, "data", ?DATA, Type, Number, More#{'Service-Information' => Home,
                                                               'Multiple-Services-Credit-Control' => Services})
           end,
    Wanted = fun(Group) -> (octets(Group))#{'Requested-Service-Unit' => #{'CC-Total-Octets' => ?MB, 'CC-Time' => 60}} end,
    ask("data I", Data(1, 0, [Wanted(1), Wanted(2)],
                       #{'Multiple-Services-Indicator' => 1,
                         'User-Equipment-Info' => #{'User-Equipment-Info-Type' => 0,
                                                    'User-Equipment-Info-Value' => <<"3512340012345601">>}})),
    ask("data U, an unknown rating group", Data(2, 1, [octets(1, ?MB, ?MB), octets(777, ?MB)], #{})),
    ask("data T", Data(3, 2, [octets(1, none, ?MB), octets(2, none, 0)], #{'Termination-Cause' => 1})),

    %% A price that changes at a certain hour.
    Abroad = fun(Type, Number, Service) ->
                 charge(Rich, "abroad", ?DATA, Type, Number, #{'Service-Information' => ps(<<"22003">>),
                                                               'Multiple-Services-Credit-Control' => [Service]})
             end,
    ask("abroad I", Abroad(1, 0, octets(1, ?MB))),
    Sides = [#{'Tariff-Change-Usage' => 0, 'CC-Total-Octets' => 10240}, #{'Tariff-Change-Usage' => 1, 'CC-Total-Octets' => 20480}],
    ask("abroad T", Abroad(3, 1, (octets(1))#{'Used-Service-Unit' => Sides})),

    %% Until the credit ends; topped up, then blocked.
    Last = fun(Type, Number, Service) ->
               charge(Poor, "last", ?DATA, Type, Number, #{'Service-Information' => Home,
                                                           'Multiple-Services-Credit-Control' => [Service]})
           end,
    ask("last units I", Last(1, 0, octets(1, 10 * ?MB))),
    ask("last units U, redirected", Last(2, 1, octets(1, none, ?MB))),
    asked("top-up", 'RAR'),
    ask("last units U, asked for", Last(2, 2, (octets(1, ?MB))#{'Reporting-Reason' => [7]})),
    asked("block", 'ASR'),
    ask("last units T", Last(3, 3, octets(1))),

    %% A call whose end is announced.
    Call = fun(Type, Number, Service) ->
               charge(Caller, "call", ?CALL, Type, Number,
                      #{'Service-Information' => call(), 'Multiple-Services-Credit-Control' => [Service]})
           end,
    ask("call I", Call(1, 0, #{'Requested-Service-Unit' => #{}})),
    ask("call T", Call(3, 1, #{'Used-Service-Unit' => [#{'CC-Time' => 5}]})),

    events(Rich),
    ask("event, no credit", event(Caller, "poor", 0, 0, messages(2))),
    refusals(Rich),
    overload(Rich).

events(Subscriber) ->
    Paid = ask("event, direct debit", event(Subscriber, "sms", 0, 0, messages(2))),
    Back = (messages(1))#{'Refund-Information' => hd(found('Refund-Information', Paid#diameter_packet.avps))},
    ask("event, refund", event(Subscriber, "sms", 1, 1, Back)),
    ask("event, refund of nothing", event(Subscriber, "sms", 2, 1, Back#{'Refund-Information' => <<"nothing">>})),
    ask("event, balance check", event(Subscriber, "sms", 3, 2, messages(1))),
    ask("event, price enquiry", event(Subscriber, "sms", 4, 3, messages(1))).

refusals(Subscriber) ->
    Refused = fun(Number, Changes) ->
                  Good = #{'Service-Information' => ps(<<"29340">>), 'Multiple-Services-Credit-Control' => [octets(1, ?MB)]},
                  charge(Subscriber, "refused" ++ integer_to_list(Number), ?DATA, 1, 0, maps:merge(Good, Changes))
              end,
    ask("unknown subscriber", charge("38699999999", "nobody", ?DATA, 1, 0,
                                     #{'Multiple-Services-Credit-Control' => [octets(1, ?MB)]})),
    ask("no rating group is known", Refused(1, #{'Multiple-Services-Credit-Control' => [octets(777, ?MB)]})),
    ask("unknown service context", Refused(2, #{'Service-Context-Id' => "32299@3gpp.org"})),
    ask("unknown session", Refused(3, #{'CC-Request-Type' => 2})),
    ask("unknown realm", Refused(4, #{'Destination-Realm' => "elsewhere.example.net"})),
    ask("unknown host", Refused(5, #{'Destination-Host' => <<"elsewhere.example.net">>})),
    ask("another's Origin-Host", Refused(6, #{'Origin-Host' => "other.example.net"})),
    %% What the encoder would not write; code, vendor and data of each AVP are as they go out.
    Broken = fun(Number, Change) ->
                 #diameter_packet{bin = Bin} = diameter_codec:encode(gy, #diameter_packet{
                     header = #diameter_header{version = 1, hop_by_hop_id = 0, end_to_end_id = 0}, msg = Refused(Number, #{})}),
                 Avps = [Avp#diameter_avp{name = undefined, value = undefined, type = undefined}
                         || Avp <- diameter_codec:collect_avps(Bin)],
                 [#diameter_header{version = 1, cmd_code = 272, application_id = 4, is_request = true, is_proxiable = true,
                                   is_error = false, is_retransmitted = false} | Change(Avps)]
             end,
    Without = fun(Code) -> fun(Avps) -> [Avp || Avp <- Avps, Avp#diameter_avp.code =/= Code] end end,
    With = fun(Avp) -> fun(Avps) -> Avps ++ [Avp] end end,
    ask("no Service-Context-Id", Broken(7, Without(461))),
    ask("no CC-Request-Type", Broken(8, Without(416))),
    ask("no AVP like this", Broken(9, With(#diameter_avp{code = 4711, vendor_id = 10415, is_mandatory = true, data = <<0:32>>}))),
    ask("CC-Request-Number twice", Broken(10, With(#diameter_avp{code = 415, is_mandatory = true, data = <<0:32>>}))),
    ask("Granted-Service-Unit asked for", Broken(11, With(#diameter_avp{code = 431, is_mandatory = true, data = <<>>}))),
    ask("no such Requested-Action", Broken(12, With(#diameter_avp{code = 436, is_mandatory = true, data = <<9:32>>}))),
    ask("CC-Request-Number of five octets", Broken(13, fun(Avps) ->
        (Without(415))(Avps) ++ [#diameter_avp{code = 415, is_mandatory = true, data = <<0:40>>}] end)).

%% More than the server takes at once, until it says so to a client that understands it.
overload(Subscriber) ->
    Asking = fun(Session) ->
                 ['CCR' | Check] = event(Subscriber, Session, 0, 2, messages(1)),
                 ['CCR' | Check#{'OC-Supported-Features' => #{'OC-Feature-Vector' => 1}}]
             end,
    Self = self(),
    Flood = [spawn_link(fun() -> Self ! {self(), send(Asking(integer_to_list(N)))} end) || N <- lists:seq(1, ?BURST)],
    [receive {Pid, Answer} -> say("flood", gy, Answer) end || Pid <- Flood],
    timer:sleep(?REPORT_MS),
    ask("overload", Asking("after it")).

restricted(Subscriber) ->
    Session = fun(Type, Number, Service) ->
                  charge(Subscriber, "restricted", ?DATA, Type, Number,
                         #{'Service-Information' => ps(<<"29340">>), 'Multiple-Services-Credit-Control' => [Service]})
              end,
    ask("restricted I", Session(1, 0, octets(1, 100 * ?MB))),
    ask("restricted T", Session(3, 1, octets(1, none, ?MB))).

plain(Subscriber) ->
    Plain = fun(Session, Type, Number, More) ->
                charge(Subscriber, Session, ?CALL, Type, Number, More#{'Service-Information' => call()})
            end,
    ask("plain I", Plain("plain", 1, 0, #{'Requested-Service-Unit' => #{'CC-Time' => 3600}})),
    ask("plain T", Plain("plain", 3, 1, #{'Used-Service-Unit' => [#{'CC-Time' => 5}]})),
    ask("plain event", Plain("event", 4, 0, #{'Requested-Action' => 0, 'Requested-Service-Unit' => #{'CC-Time' => 60}})).

some(Subscriber, Count) ->
    [ask("some", charge(Subscriber, "some", ?DATA, 1, Number, #{'Multiple-Services-Credit-Control' => [octets(1, ?MB)]}))
     || Number <- lists:seq(0, Count - 1)].

%% A Credit-Control-Request; what is in `More` comes instead of what is here.
charge(Subscriber, Session, Context, Type, Number, More) ->
    Host = host(),
    Who = #{'Subscription-Id-Type' => 0, 'Subscription-Id-Data' => Subscriber},
    ['CCR' | maps:merge(#{'Session-Id' => Host ++ ";" ++ Session, 'Origin-Host' => Host, 'Origin-Realm' => ?REALM,
                          'Destination-Realm' => ?SERVER_REALM, 'Auth-Application-Id' => 4, 'Service-Context-Id' => Context,
                          'CC-Request-Type' => Type, 'CC-Request-Number' => Number, 'Subscription-Id' => [Who]}, More)].

%% A one-off request for messages.
event(Subscriber, Session, Number, Action, Service) ->
    charge(Subscriber, Session, ?SMS, 4, Number,
           #{'Requested-Action' => Action, 'Multiple-Services-Credit-Control' => [Service], 'Service-Information' => sms()}).

ps(Plmn) -> #{'PS-Information' => #{'3GPP-SGSN-MCC-MNC' => Plmn, 'Called-Station-Id' => <<"internet">>}}.

call() ->
    #{'PS-Information' => #{'3GPP-SGSN-MCC-MNC' => <<"29340">>},
      'IMS-Information' => #{'Node-Functionality' => 6, 'Role-Of-Node' => 0, 'Called-Party-Address' => <<"tel:+38631234567">>}}.

sms() ->
    Recipient = #{'Address-Type' => 1, 'Address-Data' => <<"+38631234567">>},
    #{'PS-Information' => #{'3GPP-SGSN-MCC-MNC' => <<"29340">>},
      'SMS-Information' => #{'SM-Message-Type' => 0, 'Recipient-Info' => [#{'Recipient-Address' => [Recipient]}]}}.

messages(Wanted) -> #{'Requested-Service-Unit' => #{'CC-Service-Specific-Units' => Wanted}}.

octets(Group) -> #{'Rating-Group' => Group}.
octets(Group, Wanted) -> (octets(Group))#{'Requested-Service-Unit' => #{'CC-Total-Octets' => Wanted}}.
octets(Group, none, Used) -> (octets(Group))#{'Used-Service-Unit' => [#{'CC-Total-Octets' => Used}]};
octets(Group, Wanted, Used) -> (octets(Group, Wanted))#{'Used-Service-Unit' => [#{'CC-Total-Octets' => Used}]}.

%% ------------------------------------------------------------------------------------------------------------ the connection

start(Host, Address, Port, Security) ->
    Own = filename:dirname(filename:absname(escript:script_name())),
    {ok, [Forms]} = diameter_make:codec(filename:join(Own, "gy.dia"), [forms, return]),
    {ok, gy, Beam} = compile:forms(Forms),
    {module, gy} = code:load_binary(gy, "gy.dia", Beam),
    register(asked, self()),
    put(problems, 0),
    persistent_term:put(host, Host),
    ok = diameter:start(),
    %% What the application answers for itself (DWA, DPA) is seen where it is decoded.
    {module, _} = code:ensure_loaded(diameter_codec),
    1 = erlang:trace_pattern({diameter_codec, decode, 3}, [{'_', [], [{return_trace}]}], [global]),
    erlang:trace(all, true, [call]),
    Callbacks = [{module, ?MODULE}, {answer_errors, callback}, {request_errors, callback}],
    ok = diameter:start_service(?SERVICE, [
        {'Origin-Host', Host}, {'Origin-Realm', ?REALM}, {'Vendor-Id', 10415}, {'Product-Name', "otp"},
        {'Auth-Application-Id', [4]}, {'Supported-Vendor-Id', [10415]}, {'Origin-State-Id', 1},
        {decode_format, map}, {string_decode, true}, {strict_mbit, true},
        {application, [{alias, gy}, {dictionary, gy} | Callbacks]},
        %% Says by which standard the base protocol is read, RFC 3588 without it.
        {application, [{alias, base}, {dictionary, ?BASE} | Callbacks]}]),
    true = diameter:subscribe(?SERVICE),
    {ok, Ip} = inet:parse_address(Address),
    {ok, _} = diameter:add_transport(?SERVICE, {connect, [
        {transport_module, diameter_tcp}, {length_errors, exit}, {watchdog_timer, {?MODULE, watchdog, []}},
        {watchdog_config, [{suspect, ?PATIENT_WATCHDOGS}]},
        {transport_config, [{raddr, Ip}, {rport, Port}, {ip, Ip} | Security], ?PATIENCE_MS}]}),
    receive
        {diameter_event, ?SERVICE, {up, _, _, _, Packet}} -> say("hello", ?BASE, Packet);
        {diameter_event, ?SERVICE, {closed, _, Reason, _}} -> fail("no connection: ~p", [Reason])
    after ?PATIENCE_MS -> fail("no connection", [])
    end.

goodbye() ->
    noticed("watchdog", 'DWA', 280),
    ok = diameter:remove_transport(?SERVICE, true),
    noticed("goodbye", 'DPA', 282),
    receive {diameter_event, ?SERVICE, {down, _, _, _}} -> ok after ?PATIENCE_MS -> fail("the connection stays open", []) end,
    halt(min(get(problems), 1)).

watchdog() -> ?WATCHDOG_MS.

host() -> persistent_term:get(host).

send(Message) -> diameter:call(?SERVICE, gy, Message, [{timeout, ?PATIENCE_MS}]).

ask(What, Message) -> say(What, gy, send(Message)).

%% Waits for an answer to what the application asks for itself: only its AVPs, the test says which.
noticed(What, Name, Code) ->
    receive
        {trace, _, return_from, _, #diameter_packet{header = #diameter_header{cmd_code = Code, is_request = false}} = Packet} ->
            say(What, ?BASE, Packet#diameter_packet{msg = [Name]})
    after ?PATIENCE_MS -> fail("no ~p came", [Name])
    end.

%% Waits for a request of the server.
asked(What, Name) ->
    receive
        {request, #diameter_packet{msg = [Name | _]} = Packet} -> say(What, gy, Packet);
        {request, Packet} -> say(What, gy, Packet), fail("~p was expected", [Name])
    after ?PATIENCE_MS -> fail("no ~p came", [Name])
    end.

%% -------------------------------------------------------------------------------------------- the callbacks of diameter_app(3)

peer_up(_, _, State) -> State.
peer_down(_, _, State) -> State.
pick_peer([Peer | _], _, _, _) -> {ok, Peer};
pick_peer([], _, _, _) -> false.
prepare_request(Packet, _, _) -> {send, Packet}.
prepare_retransmit(_, _, _) -> discard.
handle_answer(Packet, _, _, _) -> Packet.
handle_error(Reason, _, _, _) -> {error, Reason}.

handle_request(#diameter_packet{msg = [Name | Request]} = Packet, _, _) ->
    asked ! {request, Packet},
    {Answer, Code} = case Name of 'RAR' -> {'RAA', 2002}; 'ASR' -> {'ASA', 2001} end,
    {reply, [Answer | #{'Session-Id' => maps:get('Session-Id', Request), 'Result-Code' => Code,
                        'Origin-Host' => host(), 'Origin-Realm' => ?REALM}]}.

%% --------------------------------------------------------------------------------------------------- what came, and its problems

%% Prints a message of the server, gives it back.
say(What, Dictionary, #diameter_packet{avps = Avps, msg = [Name | _] = Message} = Packet) ->
    Found = problems(Dictionary, Message, Packet),
    line(What, Name, Found, [pair(Avp) || Avp <- Avps]),
    Packet;
say(What, _, #diameter_packet{errors = Errors} = Packet) ->
    line(What, undecoded, ["no message" | [text("decoder: ~0p", [Error]) || Error <- Errors]], []),
    Packet;
say(What, _, Nothing) ->
    line(What, nothing, [text("~0p", [Nothing])], []),
    fail("~s: ~0p", [What, Nothing]).

line(What, Name, Problems, Avps) ->
    put(problems, get(problems) + length(Problems)),
    io:put_chars([json({[{what, What}, {message, atom_to_list(Name)}, {problems, [{s, P} || P <- Problems]}, {avps, Avps}]}), $\n]).

problems(Dictionary, [Name | Values], #diameter_packet{header = Header, avps = Avps, errors = Errors}) ->
    [text("decoder: ~0p", [Error]) || Error <- Errors]
        ++ [text("not in the grammar: ~s", [name(Avp)]) || Avp <- beyond(Values), not added(Name, Avp)]
        ++ lists:append([flags(Dictionary, Avp) || Avp <- Avps, not added(Name, Avp)])
        ++ first(Name, Avps)
        ++ header(Dictionary, Name, Header).

%% What a *[ AVP ] has taken, at any depth but within Failed-AVP, which has whatever was wrong.
beyond(#{} = Values) ->
    lists:append([case Key of 'AVP' -> Value; 'Failed-AVP' -> []; _ -> beyond(Value) end || {Key, Value} <- maps:to_list(Values)]);
beyond(Values) when is_list(Values) -> lists:append([beyond(Value) || Value <- Values]);
beyond(_) -> [].

%% What may be added with the M bit clear where the grammar has *[ AVP ] (RFC 6733 2.3): overload reports in any answer (RFC 7683 7),
%% and what a refund needs of a debit that had no Multiple-Services-Credit-Control.
added(Message, [Avp | _]) -> added(Message, Avp);
added('answer-message', #diameter_avp{name = Name, is_mandatory = false}) ->
    lists:member(Name, ['OC-Supported-Features', 'OC-OLR']);
added('CCA', #diameter_avp{name = Name, is_mandatory = false}) -> Name =:= 'Refund-Information';
added(_, _) -> false.

flags(_, [#diameter_avp{name = 'Failed-AVP'} | _]) -> [];
flags(Dictionary, [Avp | Inner]) -> flags(Dictionary, Avp) ++ lists:append([flags(Dictionary, Each) || Each <- Inner]);
flags(_, #diameter_avp{name = undefined} = Avp) -> [text("unknown: ~s", [name(Avp)])];
flags(Dictionary, #diameter_avp{name = Name, is_mandatory = Mandatory, need_encryption = Protected} = Avp) ->
    {_, Flags, _} = Dictionary:avp_header(Name),
    [text("M flag of ~s is ~p", [name(Avp), Mandatory])
     || (Flags band 16#40 =/= 0) =/= Mandatory, not lists:member(Name, ?EITHER)]
        ++ [text("P flag of ~s", [name(Avp)]) || Protected].

%% RFC 6733 3.2: an AVP in angle brackets stands where the grammar has it.
first(_, [#diameter_avp{name = 'Session-Id'} | _]) -> [];
first(Name, Avps) -> [text("Session-Id is not the first of ~s", [Name]) || lists:any(fun is_session_id/1, Avps)].

is_session_id(#diameter_avp{name = Name}) -> Name =:= 'Session-Id';
is_session_id(_) -> false.

%% R, P, E and T as the command has them; an answer-message has the E bit (RFC 6733 7.2).
header(_, 'answer-message', #diameter_header{is_error = true, is_retransmitted = false}) -> [];
header(Dictionary, Name, #diameter_header{is_request = R, is_proxiable = P, is_error = false, is_retransmitted = false})
  when Name =/= 'answer-message' ->
    {_, Flags, _} = Dictionary:msg_header(Name),
    Is = {R, P},
    [text("header bits of ~s: ~p", [Name, Is]) || Is =/= {Flags band 16#80 =/= 0, Flags band 16#40 =/= 0}];
header(_, Name, Header) -> [text("header bits of ~s: ~0p", [Name, Header])].

%% Payloads of all AVPs of this name.
found(Name, Avps) ->
    lists:append([case Avp of
                      [_ | Inner] -> found(Name, Inner);
                      #diameter_avp{name = Name, data = Data} -> [Data];
                      _ -> []
                  end || Avp <- Avps]).

%% ------------------------------------------------------------------------------------------------------------------------- JSON

pair([Avp | Inner]) -> [{s, name(Avp)}, [pair(Each) || Each <- Inner]];
pair(Avp) -> [{s, name(Avp)}, value(Avp)].

name(#diameter_avp{name = undefined, code = Code, vendor_id = Vendor}) -> text("~p/~p", [Vendor, Code]);
name(#diameter_avp{name = Name}) -> atom_to_list(Name);
name([Avp | _]) -> name(Avp).

value(#diameter_avp{value = Number}) when is_integer(Number) -> Number;
value(#diameter_avp{type = 'Time', value = Time}) -> calendar:datetime_to_gregorian_seconds(Time) - ?UNIX_EPOCH;
value(#diameter_avp{type = 'Address', value = Address}) -> {s, inet:ntoa(Address)};
value(#diameter_avp{type = Type, data = Data}) when Type =:= 'UTF8String'; Type =:= 'DiameterIdentity'; Type =:= 'IPFilterRule' ->
    case unicode:characters_to_list(Data) of
        Text when is_list(Text) -> {s, Text};
        _ -> {s, hex(Data)}
    end;
value(#diameter_avp{data = Data}) -> {s, hex(Data)}.

hex(Data) -> [io_lib:format("~2.16.0b", [Octet]) || <<Octet>> <= Data].

json(Number) when is_integer(Number) -> integer_to_list(Number);
json({s, Text}) -> [$", [escaped(C) || C <- lists:flatten(Text)], $"];
json({Members}) -> [${, lists:join(", ", [[json({s, atom_to_list(K)}), ": ", member(V)] || {K, V} <- Members]), $}];
json(List) when is_list(List) -> [$[, lists:join(", ", [json(Each) || Each <- List]), $]].

member([C | _] = Text) when is_integer(C) -> json({s, Text});
member(Other) -> json(Other).

escaped(C) when C =:= $"; C =:= $\\ -> [$\\, C];
escaped(C) when C >= 32, C < 127 -> C;
escaped(C) when C > 16#ffff -> "\\ufffd";
escaped(C) -> io_lib:format("\\u~4.16.0b", [C]).

text(Format, Values) -> lists:flatten(io_lib:format(Format, Values)).

fail(Format, Values) ->
    io:format(standard_error, Format ++ "~n", Values),
    halt(1).
